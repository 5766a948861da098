//! Which of the known words somebody meant who mistyped one.

/// The word of `known` that is nearest to `word`, if one is near enough to have been meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(64).collect();
    let most = match word.len() {
        0..=2 => 0,
        3..=5 => 1,
        6..=11 => 2,
        _ => 3,
    };
    let distances = known.into_iter().map(|known| (distance(&word, known), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= most).then_some(known)
}

/// How many letters must be added, removed, changed or swapped with their neighbour to make `known` of `word`.
fn distance(word: &[char], known: &str) -> usize {
    let known: Vec<char> = known.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=known.len()).collect()];
    for (i, a) in word.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in known.iter().enumerate() {
            let changed = rows[i][j] + usize::from(a != b);
            let mut least = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == known[j - 1] && word[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[word.len()][known.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let known = ["host", "port", "sslmode", "connect_timeout", "application_name"];
        for (word, meant) in [
            ("hsot", "host"),
            ("hosts", "host"),
            ("sslmod", "sslmode"),
            ("ssl_mode", "sslmode"),
            ("conect_timout", "connect_timeout"),
            ("applicaton_name", "application_name"),
        ] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
        for word in ["", "x", "colour", "pool", "timeout"] {
            assert_eq!(nearest(word, known), None, "{word}");
        }
    }
}
