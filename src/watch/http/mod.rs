//! The HTTP side of the daemon: health, metrics, the status as JSON and as a page. It only reads.

mod access;
mod badge;
mod server;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use super::metrics;
use super::page::{self, Links};
use super::status::Status;
use crate::redact;

pub use access::{Access, Network};
pub use server::{Listen, serve};
pub use view::View;

/// How long an answer may take to be found: stores may be away.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `/api/v1` answers. A test holds it against real answers.
const OPENAPI: &str = include_str!("openapi.json");

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// All that can be asked.
fn router(view: Arc<View>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/jobs/{job}", get(job))
        .route("/runs/{run}", get(run))
        .route("/badges/{file}", get(one_badge))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .route(
            "/api/v1/openapi.json",
            get(async || answer(StatusCode::OK, JSON, OPENAPI)),
        )
        .route("/api/v1/status", get(all))
        .route("/api/v1/status/{job}", get(one))
        .fallback(async || answer(StatusCode::NOT_FOUND, TEXT, "there is nothing here\n"))
        .method_not_allowed_fallback(async || {
            let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "this only reads: GET and HEAD\n");
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        })
        .with_state(view)
}

/// An answer with the headers that all have.
fn answer(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let policy = HeaderValue::from_str(&page::policy()).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => answer(StatusCode::OK, JSON, format!("{}\n", redact::json(&text))),
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "this cannot be told\n"),
    }
}

fn nothing(what: &str) -> Response {
    answer(StatusCode::NOT_FOUND, TEXT, format!("there is no such {what}\n"))
}

async fn health() -> Response {
    answer(StatusCode::OK, TEXT, "ok\n")
}

async fn ready(State(view): State<Arc<View>>) -> Response {
    match view.trouble().await {
        None => answer(StatusCode::OK, TEXT, "ready\n"),
        Some(why) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
    }
}

async fn scrape(State(view): State<Arc<View>>) -> Response {
    match metrics::metrics(&*view.status().await) {
        Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "this cannot be told\n"),
    }
}

async fn all(State(view): State<Arc<View>>) -> Response {
    json(&*view.status().await)
}

async fn one(State(view): State<Arc<View>>, Path(name): Path<String>) -> Response {
    let status = view.status().await;
    status.job(&name).map_or_else(|| nothing("job"), json)
}

async fn index(State(view): State<Arc<View>>) -> Response {
    answer(StatusCode::OK, HTML, page::index(&*view.status().await, Links::Server))
}

async fn job(State(view): State<Arc<View>>, Path(name): Path<String>) -> Response {
    let status: Arc<Status> = view.status().await;
    match status.job(&name) {
        Some(job) => answer(StatusCode::OK, HTML, page::job(&status, job)),
        None => nothing("job"),
    }
}

async fn run(State(view): State<Arc<View>>, Path(number): Path<String>) -> Response {
    let found = number.parse().ok().and_then(|number| {
        let recorder = view.recorder();
        recorder
            .history()
            .and_then(|history| history.run(number).ok().flatten())
    });
    match found {
        Some(run) => answer(StatusCode::OK, HTML, page::run(&run)),
        None => nothing("run"),
    }
}

async fn one_badge(State(view): State<Arc<View>>, Path(file): Path<String>) -> Response {
    let Some(name) = file.strip_suffix(".svg") else {
        return nothing("badge");
    };
    let status = view.status().await;
    let job = status.job(name);
    let fresh = job.map(|job| job.fresh);
    // What is not there is not repeated.
    let name = job.map_or("job", |job| job.job.as_str());
    let code = if fresh.is_some() {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    answer(code, SVG, badge::badge(name, fresh))
}
