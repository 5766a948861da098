//! The command that takes a restore back, as it is shown to people.

use crate::redact;

/// The command that takes back a restore of a backup of `job`, or of a file, that went `to` a connection string or to the job
/// itself. A password is not repeated: who has it writes it again.
pub fn undo_command(job: Option<&str>, to: Option<&str>) -> String {
    let mut command = "snapback undo".to_owned();
    if let Some(job) = job {
        command.push_str(&format!(" {job}"));
    }
    if let Some(to) = to {
        command.push_str(&format!(" --to {}", word(&redact::secrets(to))));
    }
    command
}

/// `text` as one word of a shell.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/@%+=".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_one_that_a_shell_reads_and_has_no_password() {
        for (job, to, expected) in [
            (Some("app"), None, "snapback undo app"),
            (
                Some("app"),
                Some("postgres://u@h/d"),
                "snapback undo app --to postgres://u@h/d",
            ),
            (
                None,
                Some("postgres://u:secret@h/d?sslmode=require"),
                "snapback undo --to 'postgres://u:********@h/d?sslmode=require'",
            ),
            (
                None,
                Some("host=h dbname='d'"),
                r"snapback undo --to 'host=h dbname='\''d'\'''",
            ),
        ] {
            assert_eq!(undo_command(job, to), expected);
        }
    }
}
