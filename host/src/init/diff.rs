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
///
/// Takes time and memory in proportion to the product of what lies between the common beginning and the common end:
/// configurations are small, and changes to them smaller.
pub fn lines(old: &[String], new: &[String]) -> Vec<Edit> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    // common[i][j]: how many lines a[i..] and b[j..] share, in order.
    let mut common = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] =
                if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let mut edits: Vec<Edit> = (0..head).map(|line| Edit::Both(line, line)).collect();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            edits.push(Edit::Both(head + i, head + j));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || common[i + 1][j] >= common[i][j + 1]) {
            edits.push(Edit::Old(head + i));
            i += 1;
        } else {
            edits.push(Edit::New(head + j));
            j += 1;
        }
    }
    edits.extend((0..tail).map(|line| Edit::Both(head + a.len() + line, head + b.len() + line)));
    edits
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
