//! "Did you mean": the known name nearest to a mistaken one.

/// The name that an error of `serde` may have meant.
pub(super) fn suggestion(message: &str) -> Option<String> {
    let (unknown, expected) = message.split_once(", expected ")?;
    if !unknown.starts_with("unknown ") {
        return None;
    }
    let mut names = unknown.split('`').skip(1).step_by(2);
    let wrong = names.next()?;
    closest(wrong, expected.split('`').skip(1).step_by(2)).map(str::to_owned)
}

/// The candidate nearest to `wrong`, if it is near enough to be a slip.
pub fn closest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(wrong, candidate), candidate))
        .filter(|(far, candidate)| *far <= 1 + candidate.len() / 4)
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
