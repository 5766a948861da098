//! `--filter`: a file of lines `include|exclude OBJECT PATTERN`, as pg_dump 17 reads it.

use std::io::Read as _;
use std::path::Path;

use crate::error::{Exit, Fail, Result};
use crate::postgres::options::DumpOptions;

/// Adds the patterns of `file` (`-` is stdin) to `options`.
pub(super) fn read(file: &Path, options: &mut DumpOptions) -> Result<()> {
    let mut text = String::new();
    let outcome = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut opened| opened.read_to_string(&mut text))
    };
    outcome.map_err(|error| {
        Fail::new(
            Exit::Usage,
            format!("could not open filter file \"{}\": {error}", file.display()),
        )
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
    let mut rest = text;
    let mut line = 0;
    while !rest.is_empty() {
        line += 1;
        let start = rest.trim_start_matches([' ', '\t', '\r']);
        if start.is_empty() || start.starts_with(['\n', '#']) {
            rest = after_line(start);
            continue;
        }
        let (command, after) = word(start);
        let (object, after) = word(after.trim_start_matches([' ', '\t']));
        let target = target(options, command, object).map_err(|why| (line, why))?;
        let (pattern, after, lines) = pattern(after.trim_start_matches([' ', '\t'])).map_err(|why| (line, why))?;
        target.push(pattern);
        line += lines;
        let trailing = after.split('\n').next().unwrap_or_default().trim();
        if !trailing.is_empty() && !trailing.starts_with('#') {
            return Err((line, format!("unexpected extra data after pattern: \"{trailing}\"")));
        }
        rest = after_line(after);
    }
    Ok(())
}

fn after_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| c.is_whitespace()).unwrap_or(text.len()))
}

/// The list of patterns that a line adds to.
fn target<'a>(options: &'a mut DumpOptions, command: &str, object: &str) -> Result<&'a mut Vec<String>, String> {
    let include = match command {
        "include" => true,
        "exclude" => false,
        _ => return Err("invalid filter command (expected \"include\" or \"exclude\")".to_owned()),
    };
    Ok(match (object, include) {
        ("", _) => return Err("missing filter object type".to_owned()),
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
        ("table_data" | "table_data_and_children", true) | ("foreign_data", false) => {
            return Err(format!(
                "{command} filter for \"{}\" is not allowed",
                object.replace('_', " ")
            ));
        }
        _ => return Err(format!("unsupported filter object type: \"{object}\"")),
    })
}

/// A pattern: no blanks around dots, parentheses and quoted parts, one otherwise. Also what follows, and how many
/// line feeds the pattern held.
fn pattern(text: &str) -> Result<(String, &str, usize), String> {
    let mut out = String::new();
    let mut rest = text;
    let (mut blank, mut joins) = (false, true);
    while let Some(c) = rest.chars().next().filter(|c| !matches!(c, '#' | '\n')) {
        if c == '"' {
            let name;
            (name, rest) = quoted(rest)?;
            out.push_str(if blank { " " } else { "" });
            out.push_str(&name);
            joins = false;
        } else if c.is_whitespace() {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() && c != '\n');
            blank = true;
            continue;
        } else {
            rest = &rest[c.len_utf8()..];
            let mark = matches!(c, ',' | '.' | '(' | ')');
            out.push_str(if blank && !joins && !mark { " " } else { "" });
            out.push(c);
            out.push_str(if c == ',' { " " } else { "" });
            joins = mark;
        }
        blank = false;
    }
    if out.is_empty() {
        return Err("missing object name pattern".to_owned());
    }
    let lines = text[..text.len() - rest.len()].matches('\n').count();
    Ok((out, rest, lines))
}

/// A quoted name that may go over lines, with its quotes, and what follows it. In it `\n` is a line feed.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut out = String::from('"');
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\r' => {}
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, '\\')) => out.push('\\'),
                _ => {}
            },
            '"' if chars.next_if(|(_, next)| *next == '"').is_some() => out.push_str("\"\""),
            '"' => {
                out.push('"');
                return Ok((out, &text[at + 1..]));
            }
            _ => out.push(c),
        }
    }
    Err("unexpected end of file".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_add_patterns_and_comments_do_not() {
        let mut options = DumpOptions::default();
        let text = "# all of it\ninclude table public.a*  # why\n\nexclude table_data \"odd\nname\"\n\
                    exclude schema s\ninclude foreign_data f";
        parse(text, &mut options).unwrap();
        assert_eq!(options.include_tables, ["public.a*"]);
        assert_eq!(options.exclude_table_data, ["\"odd\nname\""]);
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
            assert_eq!(pattern(text).unwrap().0, expected, "{text}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, why) in [
            ("\nkeep table a", 2, "invalid filter command"),
            ("include rows a", 1, "unsupported filter object type"),
            ("include table", 1, "missing object name pattern"),
            ("include table_data a", 1, "is not allowed"),
            ("include table \"a", 1, "unexpected end of file"),
        ] {
            let (at, said) = parse(text, &mut DumpOptions::default()).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(said.contains(why), "{said}");
        }
    }
}
