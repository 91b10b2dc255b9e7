//! The known word that a mistyped one was most likely meant to be.

/// The candidate nearest to `word`, if it is near enough to be a slip: at most a third of its letters differ.
///
/// ```
/// use pearlbed::config::nearest;
///
/// assert_eq!(nearest("walet_address", ["provider", "wallet_address"]), Some("wallet_address"));
/// assert_eq!(nearest("colour", ["provider", "wallet_address"]), None);
/// ```
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = fold(word);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.chars().count().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words: insertions, deletions, replacements and swaps of neighbours, one each.
pub(super) fn distance(a: &str, b: &str) -> usize {
    strsim::osa_distance(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        assert_eq!(distance("provdier", "provider"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn dashes_and_capitals_are_not_mistakes_of_their_own() {
        assert_eq!(nearest("Wallet-Address", ["wallet_address"]), Some("wallet_address"));
    }
}
