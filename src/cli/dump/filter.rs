//! `--filter`: a file of lines `include|exclude OBJECT PATTERN`, as pg_dump 17 reads it.

use std::io::Read as _;
use std::path::Path;

use crate::engine::postgres::options::DumpOptions;
use crate::error::{Exit, Fail, Result};

/// Adds the patterns of `file` (`-` is stdin) to `options`.
pub(super) fn read(file: &Path, options: &mut DumpOptions) -> Result<()> {
    let mut text = String::new();
    let outcome = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut opened| opened.read_to_string(&mut text))
    };
    outcome.map_err(|error| {
        let why = super::reason(&error);
        let message = format!("could not open filter file \"{}\": {why}", file.display());
        Fail::new(Exit::Usage, message)
    })?;
    parse(&text, options).map_err(|(line, why)| {
        let message = format!(
            "invalid format in filter read from file \"{}\" on line {line}: {why}",
            file.display()
        );
        Fail::new(Exit::Usage, message).into()
    })
}

fn parse(text: &str, options: &mut DumpOptions) -> Result<(), (usize, String)> {
    let mut lines = Lines { rest: text, number: 0 };
    while let Some(line) = lines.next() {
        let start = line.trim_start_matches(is_space);
        if start.is_empty() || start.starts_with('#') {
            continue;
        }
        item(start, &mut lines, options).map_err(|why| (lines.number, why))?;
    }
    Ok(())
}

/// The lines of a file, of which a quoted name may take several.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.number += 1;
        Some(line)
    }
}

/// What C's isspace takes for a blank.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Key words count in any case.
fn item<'a>(line: &'a str, lines: &mut Lines<'a>, options: &mut DumpOptions) -> Result<(), String> {
    let (command, after) = word(line);
    let include = match command.to_ascii_lowercase().as_str() {
        "include" => true,
        "exclude" => false,
        _ => return Err("invalid filter command (expected \"include\" or \"exclude\")".to_owned()),
    };
    let (object, after) = word(after.trim_start_matches(is_space));
    let kind = object.to_ascii_lowercase();
    match kind.as_str() {
        "" => return Err("missing filter object type".to_owned()),
        "table"
        | "table_and_children"
        | "table_data"
        | "table_data_and_children"
        | "schema"
        | "extension"
        | "foreign_data"
        | "database"
        | "function"
        | "index"
        | "trigger" => {}
        _ => return Err(format!("unsupported filter object type: \"{object}\"")),
    }
    let pattern = pattern(after.trim_start_matches(is_space), lines)?;
    let Some(target) = target(options, include, &kind) else {
        let command = if include { "include" } else { "exclude" };
        let kind = kind.replace('_', " ");
        return Err(format!("{command} filter for \"{kind}\" is not allowed"));
    };
    target.push(pattern);
    Ok(())
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(is_space).unwrap_or(text.len()))
}

/// The list of patterns that a line adds to.
fn target<'a>(options: &'a mut DumpOptions, include: bool, kind: &str) -> Option<&'a mut Vec<String>> {
    Some(match (kind, include) {
        ("table", true) => &mut options.include_tables,
        ("table", false) => &mut options.exclude_tables,
        ("table_and_children", true) => &mut options.include_tables_and_children,
        ("table_and_children", false) => &mut options.exclude_tables_and_children,
        ("table_data", false) => &mut options.exclude_table_data,
        ("table_data_and_children", false) => &mut options.exclude_table_data_and_children,
        ("schema", true) => &mut options.include_schemas,
        ("schema", false) => &mut options.exclude_schemas,
        ("extension", true) => &mut options.include_extensions,
        ("extension", false) => &mut options.exclude_extensions,
        ("foreign_data", true) => &mut options.include_foreign_data,
        _ => return None,
    })
}

/// A pattern: blanks stay, as one, between words alone; a comma is followed by one.
fn pattern<'a>(text: &'a str, lines: &mut Lines<'a>) -> Result<String, String> {
    if text.is_empty() {
        return Err("missing object name pattern".to_owned());
    }
    let mut out = String::new();
    let mut rest = text;
    let (mut joined, mut blank) = (true, false);
    while !rest.is_empty() && !rest.starts_with('#') {
        let (name, after) = rest.split_at(rest.find(ends_word).unwrap_or(rest.len()));
        if !name.is_empty() && blank && !joined {
            out.push(' ');
        }
        out.push_str(name);
        rest = after;
        joined = false;
        let mut next = rest.chars();
        match next.next() {
            Some('"') => {
                if blank {
                    out.push(' ');
                }
                rest = quoted(next.as_str(), lines, &mut out)?;
            }
            Some(mark @ (',' | '.' | '(' | ')')) => {
                out.push(mark);
                if mark == ',' {
                    out.push(' ');
                }
                rest = next.as_str();
                joined = true;
            }
            _ => {}
        }
        let after = rest.trim_start_matches(is_space);
        blank = after.len() < rest.len();
        rest = after;
    }
    Ok(out)
}

fn ends_word(c: char) -> bool {
    is_space(c) || matches!(c, '#' | ',' | '.' | '(' | ')' | '"')
}

/// Takes a quoted name over, up to its closing quote. `\n` and `\\` are escapes in it.
fn quoted<'a>(text: &'a str, lines: &mut Lines<'a>, out: &mut String) -> Result<&'a str, String> {
    out.push('"');
    let mut rest = text;
    loop {
        let mut next = rest.chars();
        match next.next() {
            None => {
                rest = lines.next().ok_or("unexpected end of file")?;
                out.push('\n');
                continue;
            }
            Some('\r') => {}
            Some('"') => {
                out.push('"');
                let after = next.as_str();
                if next.next() != Some('"') {
                    return Ok(after);
                }
                out.push('"');
            }
            Some('\\') => match next.next() {
                Some('n') => out.push('\n'),
                Some('\\') => out.push('\\'),
                _ => {}
            },
            Some(c) => out.push(c),
        }
        rest = next.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_add_patterns_and_comments_do_not() {
        let mut options = DumpOptions::default();
        let text = "# all of it\ninclude table public . a*  # why\n\nEXCLUDE Table_Data \"odd\nname\\n\"\"\"\n\
                    exclude schema s\r\ninclude foreign_data f\ninclude table f(int,text  a)";
        parse(text, &mut options).unwrap();
        assert_eq!(options.include_tables, ["public.a*", "f(int, text a)"]);
        assert_eq!(options.exclude_table_data, ["\"odd\nname\n\"\"\""]);
        assert_eq!(options.exclude_schemas, ["s"]);
        assert_eq!(options.include_foreign_data, ["f"]);
    }

    #[test]
    fn blanks_and_escapes_are_read_as_pg_dump_reads_them() {
        for (text, expected) in [
            ("\"public\". t  # c", "\"public\".t"),
            ("f ( int , text )", "f(int, text)"),
            ("a   b", "a b"),
            (r#""one\ntwo\\""#, "\"one\ntwo\\\""),
            ("\"\nt\nt\n\"", "\"\nt\nt\n\""),
            (r#""say ""so""""#, r#""say ""so""""#),
        ] {
            let mut options = DumpOptions::default();
            parse(&format!("include table {text}"), &mut options).unwrap();
            assert_eq!(options.include_tables, [expected], "{text}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, why) in [
            ("\nkeep table a", 2, "invalid filter command"),
            ("include rows a", 1, "unsupported filter object type"),
            ("include", 1, "missing filter object type"),
            ("include table", 1, "missing object name pattern"),
            (
                "include table_data a",
                1,
                "include filter for \"table data\" is not allowed",
            ),
            ("include table \"a", 1, "unexpected end of file"),
        ] {
            let (at, said) = parse(text, &mut DumpOptions::default()).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(said.contains(why), "{said}");
        }
    }
}
