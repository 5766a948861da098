//! Who is told: an HTTP server that keeps what it gets, and an SMTP server that does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request.
#[derive(Clone, Debug)]
pub struct Got {
    pub method: String,
    pub target: String,
    /// In small letters.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// An HTTP server that answers everything alike.
pub struct Receiver {
    port: u16,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (status, got) = (Arc::new(AtomicU16::new(200)), Arc::default());
        let receiver = Receiver {
            port,
            status: Arc::clone(&status),
            got: Arc::clone(&got),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (status, got) = (Arc::clone(&status), Arc::clone(&got));
                std::thread::spawn(move || serve(stream.unwrap(), &status, &got));
            }
        });
        receiver
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Everything is answered so from now on.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// What it has got so far.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// What it has got, as soon as there is one that `is` it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is: impl Fn(&Got) -> bool) -> Got {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let got = self.got();
            if let Some(found) = got.iter().find(|got| is(got)) {
                return found.clone();
            }
            assert!(Instant::now() < deadline, "{what} never came: {got:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn serve(stream: TcpStream, status: &AtomicU16, got: &Mutex<Vec<Got>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        got.lock().unwrap().push(Got {
            method,
            target,
            headers,
            body: String::from_utf8(body).unwrap(),
        });
        let status = status.load(Ordering::SeqCst);
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 5\r\n\r\nsaid\n");
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

/// An SMTP server without TLS, as a relay on the same machine is.
pub struct Mails {
    port: u16,
    got: Arc<Mutex<Vec<String>>>,
}

impl Mails {
    pub fn start() -> Mails {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got: Arc<Mutex<Vec<String>>> = Arc::default();
        let mails = Mails {
            port,
            got: Arc::clone(&got),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let got = Arc::clone(&got);
                std::thread::spawn(move || talk(stream.unwrap(), &got));
            }
        });
        mails
    }

    pub fn url(&self) -> String {
        format!("smtp+plain://127.0.0.1:{}", self.port)
    }

    /// The mails so far: the envelope and all that was said after DATA.
    pub fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

fn talk(stream: TcpStream, got: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let say = |reader: &mut BufReader<TcpStream>, text: &str| reader.get_mut().write_all(text.as_bytes()).ok();
    say(&mut reader, "220 here\r\n")?;
    let mut mail = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        match line.split_whitespace().next()?.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => say(&mut reader, "250 here\r\n")?,
            "DATA" => {
                say(&mut reader, "354 go on\r\n")?;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).ok()?;
                    if line == ".\r\n" {
                        break;
                    }
                    mail.push_str(&line);
                }
                got.lock().unwrap().push(std::mem::take(&mut mail));
                say(&mut reader, "250 taken\r\n")?;
            }
            "QUIT" => return say(&mut reader, "221 bye\r\n"),
            _ => {
                mail.push_str(&line);
                say(&mut reader, "250 fine\r\n")?;
            }
        }
    }
}
