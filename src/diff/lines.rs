//! The lines in which two definitions differ.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput, Token};

/// Lines around those that differ.
const CONTEXT: u32 = 3;

/// The lines that differ, with some around them as diff -u has them, but without the lines that say where.
pub fn unified(before: &str, after: &str) -> String {
    let (before, after) = (format!("{before}\n"), format!("{after}\n"));
    let (before, after) = (before.trim_start_matches('\n'), after.trim_start_matches('\n'));
    let input = InternedInput::new(before, after);
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let mut text = String::new();
    // Where the place before ended.
    let mut told = None;
    for hunk in diff.hunks() {
        let from = hunk.before.start.saturating_sub(CONTEXT).max(told.unwrap_or_default());
        if let Some(told) = told {
            let until = from.min(told + CONTEXT);
            push(&mut text, " ", &input, &input.before, told..until);
            text.push_str(if until < from { "...\n" } else { "" });
        }
        push(&mut text, " ", &input, &input.before, from..hunk.before.start);
        push(&mut text, "-", &input, &input.before, hunk.before.clone());
        push(&mut text, "+", &input, &input.after, hunk.after);
        told = Some(hunk.before.end);
    }
    if let Some(told) = told {
        push(&mut text, " ", &input, &input.before, told..told + CONTEXT);
    }
    text
}

fn push(text: &mut String, sign: &str, input: &InternedInput<&str>, side: &[Token], lines: Range<u32>) {
    let [from, to] = [lines.start, lines.end].map(|at| (at as usize).min(side.len()));
    for line in side.get(from..to).unwrap_or_default() {
        text.push_str(sign);
        text.push_str(input.interner[*line]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_differ_have_some_lines_around_them() {
        let before: String = (1..=30).map(|n| format!("{n}\n")).collect();
        let after = before.replace("5\n", "five\n").replace("\n28\n", "\n28\n28a\n");
        let wanted = " 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";
        let text = unified(&before, &after);
        assert!(text.starts_with(wanted), "{text}");
        assert!(text.contains("...\n 12\n 13\n 14\n-15\n+1five\n"), "{text}");
        assert!(text.ends_with(" 26\n 27\n 28\n+28a\n 29\n 30\n \n"), "{text}");
        assert_eq!(unified("a", "a"), "");
        let text = unified("1\n2\n3\n4\n5\n6\n7\n8\n9", "0\n1\n2\n3\n4\n5\n6\n7\n8\nnine");
        assert_eq!(text, "+0\n 1\n 2\n 3\n...\n 6\n 7\n 8\n-9\n+nine\n");
        assert_eq!(unified("", "a\nb"), "+a\n+b\n");
        assert_eq!(unified("\na", ""), "-a\n");
    }
}
