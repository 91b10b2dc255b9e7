//! The lines by which two texts differ.

/// One step from an old list of lines to a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// The line stands in both: its index in the old list and in the new one.
    Both(usize, usize),
    /// The line of the old list is gone.
    Old(usize),
    /// The line of the new list was added.
    New(usize),
}

/// The shortest way from `old` to `new`, with removals before additions.
pub fn lines(old: &[String], new: &[String]) -> Vec<Edit> {
    let ops = similar::capture_diff_slices(similar::Algorithm::Myers, old, new);
    let edits = ops.iter().flat_map(|op| {
        let (tag, old, new) = op.as_tag_tuple();
        let both = old.clone().zip(new.clone()).map(|(a, b)| Edit::Both(a, b));
        let equal = tag == similar::DiffTag::Equal;
        let gone = old.map(Edit::Old);
        let added = new.map(Edit::New);
        both.filter(move |_| equal).chain(gone.chain(added).filter(move |_| !equal))
    });
    edits.collect()
}

/// Unchanged lines that are shown around a change.
const CONTEXT: usize = 2;

/// A line of a difference as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A line that stays, near a change.
    Same(String),
    /// A line that goes.
    Gone(String),
    /// A line that comes.
    Added(String),
    /// Lines that stay and are left out.
    Gap,
}

/// The changes with two lines around each.
pub fn shown(old: &str, new: &str) -> Vec<Shown> {
    let split = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (old, new) = (split(old), split(new));
    let edits = lines(&old, &new);
    let near = |at: usize| {
        let around = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(edits.len());
        edits[around].iter().any(|edit| !matches!(edit, Edit::Both(..)))
    };
    let mut out = Vec::new();
    for (at, edit) in edits.iter().enumerate() {
        match edit {
            Edit::Both(line, _) if near(at) => out.push(Shown::Same(old[*line].clone())),
            Edit::Both(..) if out.last() != Some(&Shown::Gap) => out.push(Shown::Gap),
            Edit::Both(..) => {}
            Edit::Old(line) => out.push(Shown::Gone(old[*line].clone())),
            Edit::New(line) => out.push(Shown::Added(new[*line].clone())),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_edits_lead_from_the_old_lines_to_the_new_ones(
            old in prop::collection::vec("[abc]", 0..12),
            new in prop::collection::vec("[abc]", 0..12),
        ) {
            let (mut seen_old, mut seen_new) = (vec![], vec![]);
            for edit in lines(&old, &new) {
                match edit {
                    Edit::Both(a, b) => {
                        prop_assert_eq!(&old[a], &new[b]);
                        seen_old.push(old[a].clone());
                        seen_new.push(new[b].clone());
                    }
                    Edit::Old(a) => seen_old.push(old[a].clone()),
                    Edit::New(b) => seen_new.push(new[b].clone()),
                }
            }
            prop_assert_eq!(seen_old, old);
            prop_assert_eq!(seen_new, new);
        }
    }

    #[test]
    fn a_diff_shows_the_change_with_two_lines_around() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n";
        let same = |line: &str| Shown::Same(line.into());
        let expected = [
            Shown::Gap,
            same("3"),
            same("4"),
            Shown::Gone("5".into()),
            Shown::Added("five".into()),
            same("6"),
            same("7"),
            Shown::Gap,
        ];
        assert_eq!(shown(old, new), expected);
    }
}
