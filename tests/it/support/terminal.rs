//! A real pseudo-terminal, made by script(1), and what its screen shows.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::program::snapback;

/// A hang is a failure, not a run that never ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// `snapback` on a terminal.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<vt100::Parser>>,
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

/// How the terminal is.
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

impl Terminal {
    /// Runs `snapback` with `arguments` in `folder`. `setup` may set its environment.
    pub fn run(folder: &Path, size: &Size, setup: impl FnOnce(&mut Command), arguments: &str) -> Terminal {
        let program = snapback();
        let mut command = Command::new("script");
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let Size { rows, columns } = size;
        let inside = format!(
            "tty > tty; stty rows {rows} columns {columns}; exec {} {arguments}",
            program.get_program().to_str().unwrap()
        );
        command
            .args(["-q", "-e", "-c", &inside, "/dev/null"])
            .current_dir(folder)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        setup(&mut command);
        let mut child = command.spawn().unwrap();
        let keys = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(*rows), cells(*columns), 500)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let (shown, kept) = (Arc::clone(&screen), Arc::clone(&written));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..read]);
                kept.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        Terminal {
            child,
            keys,
            screen,
            written,
            reader: Some(reader),
        }
    }

    /// What a person sees now, without blanks at the ends of lines.
    pub fn shows(&self) -> String {
        let screen = self.screen.lock().unwrap();
        let text = screen.screen().contents();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// The same in one line, for texts that the terminal wraps.
    pub fn unwrapped(&self) -> String {
        self.shows().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Waits until the screen shows `text`, wherever its lines are broken.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        let wanted = squeezed(text);
        let begun = Instant::now();
        while !squeezed(&self.shows()).contains(&wanted) {
            assert!(begun.elapsed() < PATIENCE, "no {text:?} on:\n{}", self.shows());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types.
    pub fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Makes the terminal as wide as `columns`, as a person does who drags a window.
    pub fn resize(&mut self, folder: &Path, rows: u16, columns: u16) {
        let tty = std::fs::read_to_string(folder.join("tty")).unwrap();
        self.screen
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(cells(rows), cells(columns));
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let stty = ["-F", tty.trim(), "rows", &rows, "columns", &columns];
        assert!(Command::new("stty").args(stty).status().unwrap().success());
    }

    /// Waits for the end; everything that was written to the terminal, with its escapes.
    #[track_caller]
    pub fn bytes(self) -> String {
        let written = Arc::clone(&self.written);
        let (code, screen) = self.end();
        assert_eq!(code, Some(0), "{screen}");
        String::from_utf8_lossy(&written.lock().unwrap()).into_owned()
    }

    /// Waits for the end; the exit status, and what the screen shows then.
    pub fn end(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.shows());
            std::thread::sleep(Duration::from_millis(20));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status.code(), self.shows())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}
