//! An S3 server in this process that misbehaves on purpose: `s3s-fs` behind a layer that injects faults by request.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::http::{HeaderMap, HeaderValue, Method};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use snapback::store::{S3, S3Options};
use tempfile::TempDir;

pub const ACCESS_KEY: &str = "snapback-test";
pub const SECRET_KEY: &str = "snapback-test-secret";

type Body = UnsyncBoxBody<Bytes, Trouble>;
type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// The kinds of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Any,
    Put,
    Start,
    Part,
    Complete,
    Abort,
    Uploads,
    Get,
    Head,
    List,
    Delete,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An error with this status and code.
    Error(u16, &'static str),
    /// This document instead of what is true.
    Document(String),
    /// No answer, ever.
    Silence,
    /// The connection is closed in the middle of the request.
    Reset,
    /// The connection is closed when all is done.
    LostAnswer,
    /// The connection is closed after so many bytes of the answer.
    CutAnswer(usize),
    /// The answer ends, cleanly, after so many bytes.
    ShortAnswer(usize),
    /// The first byte of the answer is another one.
    WrongByte,
    /// The first byte of the request's body arrives as another one.
    Garbled,
    /// The answer has an ETag that says nothing of the content.
    OpaqueETag,
}

struct Rule {
    ask: Ask,
    /// What the key must contain.
    key: &'static str,
    skip: usize,
    times: usize,
    fault: Fault,
}

/// A request as it came.
#[derive(Clone)]
pub struct Seen {
    pub ask: Ask,
    pub key: String,
    pub headers: HeaderMap,
}

#[derive(Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    /// Lock mode and end of the objects that were put with an Object Lock.
    locks: Mutex<BTreeMap<String, [HeaderValue; 2]>>,
}

/// A running server with an empty bucket `bucket`.
pub struct FaultyS3 {
    dir: TempDir,
    port: u16,
    state: Arc<State>,
    /// The server stops when this is dropped.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl FaultyS3 {
    pub fn start() -> FaultyS3 {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/bucket")).unwrap();
        fs::write(dir.path().join("access"), ACCESS_KEY).unwrap();
        fs::write(dir.path().join("secret"), SECRET_KEY).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path().join("root")).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let (service, state) = (builder.build(), Arc::new(State::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&state);
        // A thread of its own: tests block theirs while they run the program.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, service, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        FaultyS3 {
            dir,
            port,
            state,
            _stop: stop,
        }
    }

    /// From now on `times` requests go wrong, after `skip` good ones, of those whose key contains `key`.
    pub fn fail(&self, ask: Ask, key: &'static str, skip: usize, times: usize, fault: Fault) {
        self.state.rules.lock().unwrap().push(Rule {
            ask,
            key,
            skip,
            times,
            fault,
        });
    }

    /// All is well again.
    pub fn heal(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    /// How many requests of a kind there were since the last question.
    pub fn count(&self, ask: Ask) -> usize {
        let mut seen = self.state.seen.lock().unwrap();
        let before = seen.len();
        seen.retain(|seen| seen.ask != ask);
        before - seen.len()
    }

    /// All requests since they were last counted.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Keys that requests of a kind were about.
    pub fn keys(&self, ask: Ask) -> Vec<String> {
        let asked = self.seen().into_iter().filter(|seen| seen.ask == ask);
        asked.map(|seen| seen.key).collect()
    }

    /// Keys of the objects that were put with an Object Lock, and its mode.
    pub fn locks(&self) -> Vec<(String, String)> {
        let locks = self.state.locks.lock().unwrap();
        let mode = |lock: &[HeaderValue; 2]| lock[0].to_str().unwrap().to_owned();
        locks.iter().map(|(key, lock)| (key.clone(), mode(lock))).collect()
    }

    /// The time has come when all locks end.
    pub fn unlock(&self) {
        self.state.locks.lock().unwrap().clear();
    }

    /// The server's address.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Options for a store in the bucket that waits for nothing long.
    pub fn options(&self) -> S3Options {
        S3Options {
            bucket: "bucket".into(),
            endpoint_url: Some(format!("http://127.0.0.1:{}", self.port)),
            force_path_style: true,
            key_files: Some((self.dir.path().join("access"), self.dir.path().join("secret"))),
            attempts: Some(3),
            timeout: Some(Duration::from_secs(2)),
            ..Default::default()
        }
    }

    pub fn store(&self) -> S3 {
        S3::new(self.options())
    }

    /// The same as a section of a configuration, with further keys.
    pub fn config(&self, more: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            "[stores.default.s3]\nbucket = 'bucket'\nendpoint_url = 'http://127.0.0.1:{}'\nforce_path_style = true\n\
             access_key_file = '{dir}/access'\nsecret_key_file = '{dir}/secret'\nattempts = 3\ntimeout = '2s'\n{more}\n",
            self.port
        )
    }

    /// The folder that the bucket is.
    pub fn bucket(&self) -> PathBuf {
        self.dir.path().join("root/bucket")
    }

    /// Names of all objects.
    pub fn objects(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.bucket()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path.strip_prefix(self.bucket()).unwrap().to_str().unwrap().to_owned()),
                }
            }
        }
        found.sort();
        found
    }

    /// What multipart uploads have left that were neither completed nor given up.
    pub fn leaked(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path().join("root")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("upload")).collect()
    }
}

async fn serve(listener: std::net::TcpListener, service: S3Service, state: Arc<State>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            return;
        };
        let (service, state) = (service.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(request, service.clone(), Arc::clone(&state)));
            // A connection that ends in an error is what this is for.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), answer)
                .await;
        });
    }
}

fn kind(request: &Request<Incoming>) -> Ask {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
    let is_object = request.uri().path().trim_matches('/').contains('/');
    match *request.method() {
        Method::PUT if has("uploadId") => Ask::Part,
        Method::PUT => Ask::Put,
        Method::POST if has("uploads") => Ask::Start,
        Method::POST => Ask::Complete,
        Method::DELETE if has("uploadId") => Ask::Abort,
        Method::DELETE => Ask::Delete,
        Method::HEAD => Ask::Head,
        Method::GET if has("uploads") => Ask::Uploads,
        Method::GET if is_object => Ask::Get,
        _ => Ask::List,
    }
}

impl State {
    /// The fault that a request meets.
    fn fault(&self, ask: Ask, key: &str, headers: &HeaderMap) -> Option<Fault> {
        self.seen.lock().unwrap().push(Seen {
            ask,
            key: key.to_owned(),
            headers: headers.clone(),
        });
        let mut rules = self.rules.lock().unwrap();
        let meets = |rule: &&mut Rule| (rule.ask == ask || rule.ask == Ask::Any) && key.contains(rule.key);
        for rule in rules.iter_mut().filter(meets) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if rule.times > 0 {
                rule.times -= 1;
                return Some(rule.fault.clone());
            }
        }
        None
    }

    /// Takes note of the lock that an upload asks for.
    fn lock(&self, ask: Ask, key: &str, headers: &HeaderMap) {
        let header = |name| headers.get(name).cloned();
        if matches!(ask, Ask::Put | Ask::Start)
            && let Some(mode) = header("x-amz-object-lock-mode")
            && let Some(until) = header("x-amz-object-lock-retain-until-date")
        {
            let has_sum = headers.contains_key("content-md5") || headers.contains_key("x-amz-checksum-sha256");
            assert!(has_sum || ask == Ask::Start);
            self.locks.lock().unwrap().insert(key.to_owned(), [mode, until]);
        }
    }

    fn lock_of(&self, key: &str) -> Option<[HeaderValue; 2]> {
        self.locks.lock().unwrap().get(key).cloned()
    }
}

async fn answer(request: Request<Incoming>, service: S3Service, state: Arc<State>) -> Result<Response<Body>, Trouble> {
    let ask = kind(&request);
    let path = request.uri().path().trim_start_matches('/');
    let key = path.split_once('/').map_or("", |(_, key)| key).to_owned();
    let fault = state.fault(ask, &key, request.headers());
    state.lock(ask, &key, request.headers());
    let (head, mut body) = request.into_parts();
    if let Some(Fault::Reset) = fault {
        body.frame().await;
        return Err("the connection is reset".into());
    }
    let mut body = body.collect().await?.to_bytes();
    if let Some(Fault::Garbled) = fault {
        body = wrong(&body);
    }
    match &fault {
        Some(Fault::Error(status, code)) => return Ok(error(*status, code)),
        Some(Fault::Document(text)) => return Ok(document(200, text.clone())),
        Some(Fault::Silence) => std::future::pending().await,
        _ => {}
    }
    let lock = state.lock_of(&key);
    if ask == Ask::Delete && lock.is_some() {
        return Ok(error(403, "AccessDenied"));
    }
    let answer = service.call(Request::from_parts(head, s3s::Body::from(body))).await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    let (mut head, body) = answer.into_parts();
    if let (Ask::Head, Some([mode, until])) = (ask, lock) {
        head.headers.insert("x-amz-object-lock-mode", mode);
        head.headers.insert("x-amz-object-lock-retain-until-date", until);
    }
    let boxed = |bytes: Bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    let body = match fault {
        None | Some(Fault::Garbled) => body.boxed_unsync(),
        Some(Fault::OpaqueETag) => {
            head.headers
                .insert("etag", HeaderValue::from_static("\"0123456789abcdef0123456789abcdef\""));
            body.boxed_unsync()
        }
        Some(Fault::LostAnswer) => return Err("the answer is lost".into()),
        Some(Fault::CutAnswer(bytes)) => {
            let whole = body.collect().await?.to_bytes();
            let data = stream::iter([Ok(Frame::data(whole.slice(..bytes)))]);
            // What was given so far is sent before the end comes.
            let cut = stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(Trouble::from("cut"))
            });
            StreamBody::new(futures_util::StreamExt::chain(data, cut)).boxed_unsync()
        }
        Some(Fault::ShortAnswer(bytes)) => {
            let whole = body.collect().await?.to_bytes();
            head.headers.insert("content-length", bytes.into());
            boxed(whole.slice(..bytes))
        }
        Some(_) => boxed(wrong(&body.collect().await?.to_bytes())),
    };
    Ok(Response::from_parts(head, body))
}

/// The same with another first byte.
fn wrong(bytes: &[u8]) -> Bytes {
    let mut wrong = bytes.to_vec();
    wrong[0] ^= 1;
    wrong.into()
}

fn error(status: u16, code: &str) -> Response<Body> {
    document(
        status,
        format!("<Error><Code>{code}</Code><Message>made to fail</Message></Error>"),
    )
}

fn document(status: u16, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync();
    let answer = Response::builder()
        .status(status)
        .header("content-type", "application/xml");
    answer.body(body).unwrap()
}
