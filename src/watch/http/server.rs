//! Connections: a bounded number, each for a bounded time, with bounded headers. Nobody who is slow keeps others waiting.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Access, PATIENCE, TEXT, View, answer, router};
use crate::error::Result;

/// How many connections are open at once; further ones wait.
const CONNECTIONS: usize = 64;

/// How long a client may take for its headers.
const HEADERS: Duration = Duration::from_secs(5);

/// How long a connection lives, whatever happens on it.
const LONGEST: Duration = Duration::from_secs(60);

/// The most that headers may come to.
const BUFFER: usize = 16 << 10;

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket in a folder.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text
            .strip_prefix("unix:")
            .or_else(|| text.starts_with('/').then_some(text))
        {
            return Ok(Listen::Unix(path.into()));
        }
        let wrong = || format!("{text:?} is neither an address such as 127.0.0.1:7531 nor the path of a socket");
        text.parse().map(Listen::Tcp).map_err(|_| wrong())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "http://{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn bind(listen: &Listen) -> Result<Listener> {
        match listen {
            Listen::Tcp(address) => Ok(Listener::Tcp(TcpListener::bind(address).await?)),
            Listen::Unix(path) => {
                remove_socket(path)?;
                let listener = UnixListener::bind(path)?;
                // Who may connect is who may write to it.
                std::fs::set_permissions(path, PermissionsExt::from_mode(0o660))?;
                Ok(Listener::Unix(listener))
            }
        }
    }
}

/// A socket that an earlier process has left is in the way; anything else is somebody's file.
fn remove_socket(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(meta) if meta.file_type().is_socket() => Ok(std::fs::remove_file(path)?),
        _ => Ok(()),
    }
}

/// Listens, and answers until `shutdown`. Returns what does that, as soon as it listens.
///
/// # Errors
/// It cannot listen there.
pub async fn serve(
    listen: &Listen,
    access: Access,
    view: Arc<View>,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + use<>> {
    let listener = Listener::bind(listen)
        .await
        .with_context(|| format!("listening on {listen} for the status page"))?;
    let (router, access) = (router(view), Arc::new(access));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    Ok(async move {
        let accepting = async {
            loop {
                let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                    return;
                };
                let (router, access) = (router.clone(), Arc::clone(&access));
                // One that could not be accepted is the client's loss; without file descriptors we wait a little.
                match &listener {
                    Listener::Tcp(listener) => match listener.accept().await {
                        Ok((stream, peer)) => drop(tokio::spawn(async move {
                            connection(stream, Some(peer.ip()), router, access).await;
                            drop(place);
                        })),
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    },
                    Listener::Unix(listener) => match listener.accept().await {
                        Ok((stream, _)) => drop(tokio::spawn(async move {
                            connection(stream, None, router, access).await;
                            drop(place);
                        })),
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    },
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = shutdown.cancelled() => {}
        }
    })
}

async fn connection<S>(stream: S, peer: Option<IpAddr>, router: Router, access: Arc<Access>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, access) = (router.clone(), Arc::clone(&access));
        async move { Ok::<_, Infallible>(guarded(request, peer, router, &access).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does to its own connection is no news.
    let _ = tokio::time::timeout(LONGEST, serving).await;
}

/// The answer, for those who may have one.
async fn guarded(request: Request<Incoming>, peer: Option<IpAddr>, router: Router, access: &Access) -> Response {
    if !access.admits(peer) {
        return answer(StatusCode::FORBIDDEN, TEXT, "not from there\n");
    }
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    let header = request.headers().get(header::AUTHORIZATION);
    if !is_probe && !access.knows(header.and_then(|value| value.to_str().ok())) {
        let mut answer = answer(StatusCode::UNAUTHORIZED, TEXT, "this needs the token\n");
        let how = HeaderValue::from_static("Bearer realm=\"snapback\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        return answer;
    }
    let service = TowerToHyperService::new(router);
    let answering = hyper::service::Service::call(&service, request.map(Body::new));
    match tokio::time::timeout(PATIENCE, answering).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(never)) => match never {},
        Err(_) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            "the stores did not answer in time\n",
        ),
    }
}
