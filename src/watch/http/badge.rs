//! A badge: a small picture that says whether a job is fresh, for a wiki or a README.

use crate::watch::page::escape;

/// Width of a letter, about, in the font that badges have.
const LETTER: usize = 7;

/// The badge of a job, or of one that is not there.
#[must_use]
pub fn badge(job: &str, fresh: Option<bool>) -> String {
    let (word, color) = match fresh {
        Some(true) => ("fresh", "#1a7f37"),
        Some(false) => ("not fresh", "#b42318"),
        None => ("unknown", "#57606a"),
    };
    let label = format!("backup of {job}");
    let [left, right] = [&label, word].map(|text| text.chars().count() * LETTER + 12);
    let (width, middle) = (left + right, left + right / 2);
    let (label, half) = (escape(&label), left / 2);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"20\" role=\"img\" aria-label=\"{label}: {word}\">\
         <title>{label}: {word}</title><rect width=\"{left}\" height=\"20\" fill=\"#3d444d\"/>\
         <rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{color}\"/>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">\
         <text x=\"{half}\" y=\"14\">{label}</text><text x=\"{middle}\" y=\"14\">{word}</text></g></svg>\n"
    )
}
