//! Something between a program and a server that makes the way long, counts how often it is gone, stops a message
//! until the test has done what it wants to do meanwhile, or cuts the connection over it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Server;

/// A socket that leads to a server.
pub struct Relay {
    folder: TempDir,
    way: Arc<Way>,
}

struct Way {
    server: PathBuf,
    /// How long each direction takes.
    delay: Duration,
    /// How often a client spoke after it had heard an answer.
    turns: AtomicUsize,
    /// The first message that has this text is stopped.
    stop_at: Option<&'static str>,
    /// The connection of the first message that is this statement and nothing else is cut.
    cut_over: Option<(&'static str, Cut)>,
    /// Nobody is let through any more.
    closed: AtomicBool,
    stop: Mutex<Stop>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Expected,
    Stopped,
    Over,
}

/// When a connection is cut.
#[derive(Clone, Copy, PartialEq)]
pub enum Cut {
    /// Before the server gets the message.
    Before,
    /// When the server answers it, before the client gets the answer.
    After,
    /// Then too, and nobody gets to the server any more.
    ForGood,
}

impl Relay {
    /// Every message arrives 10 ms after it was sent.
    pub fn far(server: &Server) -> Relay {
        Relay::at(server, Duration::from_millis(10))
    }

    /// Every message arrives `delay` after it was sent.
    pub fn at(server: &Server, delay: Duration) -> Relay {
        Relay::start(server, delay, None, None)
    }

    /// Stops the first message of a client that has `text` in it; see [`Relay::meanwhile`].
    pub fn stopping_at(server: &Server, text: &'static str) -> Relay {
        Relay::start(server, Duration::ZERO, Some(text), None)
    }

    /// Cuts the first connection over which a client sends the statement `sql`.
    pub fn cutting_over(server: &Server, sql: &'static str, cut: Cut) -> Relay {
        Relay::start(server, Duration::ZERO, None, Some((sql, cut)))
    }

    fn start(
        server: &Server,
        delay: Duration,
        stop_at: Option<&'static str>,
        cut_over: Option<(&'static str, Cut)>,
    ) -> Relay {
        let folder = tempfile::Builder::new().prefix("sbfar").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let way = Arc::new(Way {
            server: PathBuf::from(server.host()).join(".s.PGSQL.5432"),
            delay,
            turns: AtomicUsize::new(0),
            stop_at,
            cut_over,
            closed: AtomicBool::new(false),
            stop: Mutex::new(Stop::Expected),
            changed: Condvar::new(),
        });
        let relay = Relay {
            folder,
            way: Arc::clone(&way),
        };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                way.join(client);
            }
        });
        relay
    }

    /// The folder of the socket; also a libpq `host`.
    pub fn host(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// How often all clients waited for an answer before they went on, since the last call.
    pub fn turns(&self) -> usize {
        self.way.turns.swap(0, Ordering::SeqCst)
    }

    /// Waits for the message that is stopped, does something, and lets it go on.
    pub fn meanwhile<T>(&self, what: impl FnOnce() -> T) -> T {
        let stop = self.way.stop.lock().unwrap();
        let limit = Duration::from_secs(60);
        let stopped = self
            .way
            .changed
            .wait_timeout_while(stop, limit, |stop| *stop == Stop::Expected);
        assert!(!stopped.unwrap().1.timed_out(), "no message was stopped");
        let done = what();
        *self.way.stop.lock().unwrap() = Stop::Over;
        self.way.changed.notify_all();
        done
    }
}

impl Way {
    fn join(self: &Arc<Self>, client: UnixStream) {
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = UnixStream::connect(&self.server) else {
            return;
        };
        let answered = Arc::new(AtomicBool::new(false));
        let (way, heard) = (Arc::clone(self), Arc::clone(&answered));
        let ends = Arc::new(Ends {
            client: client.try_clone().unwrap(),
            server: server.try_clone().unwrap(),
            at_answer: AtomicBool::new(false),
        });
        let (forth_ends, back_ends) = (Arc::clone(&ends), ends);
        let forth = move |bytes: &[u8]| {
            if heard.swap(false, Ordering::SeqCst) {
                way.turns.fetch_add(1, Ordering::SeqCst);
            }
            way.stop(bytes);
            way.cut(bytes, &forth_ends)
        };
        pass(&client, &server, self.delay, forth, || ());
        pass(
            &server,
            &client,
            self.delay,
            move |_| back_ends.answer(),
            move || {
                answered.store(true, Ordering::SeqCst);
            },
        );
    }

    /// Cuts the connection, or lets the answer cut it; says whether the message still goes to the server.
    fn cut(&self, bytes: &[u8], ends: &Ends) -> bool {
        let Some((sql, cut)) = self.cut_over else { return true };
        let message = [b"Q", &(sql.len() as u32 + 5).to_be_bytes()[..], sql.as_bytes(), b"\0"].concat();
        let is_it = bytes.windows(message.len()).any(|part| part == message);
        let mut stop = self.stop.lock().unwrap();
        if !is_it || *stop != Stop::Expected {
            return true;
        }
        *stop = Stop::Over;
        self.closed.store(cut == Cut::ForGood, Ordering::SeqCst);
        match cut {
            Cut::Before => ends.cut(),
            Cut::After | Cut::ForGood => ends.at_answer.store(true, Ordering::SeqCst),
        }
        cut != Cut::Before
    }

    fn stop(&self, bytes: &[u8]) {
        let Some(text) = self.stop_at else { return };
        let mut stop = self.stop.lock().unwrap();
        if *stop == Stop::Expected && bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
            *stop = Stop::Stopped;
            self.changed.notify_all();
            let _over = self.changed.wait_while(stop, |stop| *stop != Stop::Over).unwrap();
        }
    }
}

/// Both ends of a connection.
struct Ends {
    client: UnixStream,
    server: UnixStream,
    /// The next answer cuts it.
    at_answer: AtomicBool,
}

impl Ends {
    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// Says whether an answer goes to the client.
    fn answer(&self) -> bool {
        let cut = self.at_answer.load(Ordering::SeqCst);
        if cut {
            self.cut();
        }
        !cut
    }
}

/// Passes bytes on: `taken` sees them when they set out and says whether they do, `given` is called before they arrive.
fn pass(
    from: &UnixStream,
    to: &UnixStream,
    delay: Duration,
    taken: impl Fn(&[u8]) -> bool + Send + 'static,
    given: impl Fn() + Send + 'static,
) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let (depart, arrive) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if !taken(&bytes[..count]) || depart.send((Instant::now() + delay, bytes[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in arrive {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            given();
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
