//! How answers look: styles, aligned rows, errors.
//!
//! Everything is a `String` with styles in it; [`Context::print`](super::Context::print) drops them where they do
//! not belong. Text that others wrote passes [`printable`] before it comes here, except in
//! errors, where [`error`] sees to it.

use anstyle::{AnsiColor, Style};

use super::Error;
use crate::text::{columns, printable, wrap};

/// Good news: a check that passed, a proof that was accepted.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something to look at.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// Something that must be put right.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What explains and does not matter by itself.
pub const DIM: Style = Style::new().dimmed();
/// A heading, or the word of a line that counts.
pub const BOLD: Style = Style::new().bold();

/// `text` in `style`.
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` in `style`, filled with spaces to `width` columns.
pub fn padded(style: Style, text: &str, width: usize) -> String {
    let fill = width.saturating_sub(columns(text));
    format!("{style}{text}{style:#}{:fill$}", "")
}

/// Appends `first` and then `text`, wrapped so that its further lines stand under its first one.
///
/// `first` is already styled and takes `first_columns` columns.
pub fn hanging(out: &mut String, first: &str, first_columns: usize, text: &str, width: usize) {
    let room = width.saturating_sub(first_columns).max(20);
    for (index, line) in wrap(text, room).into_iter().enumerate() {
        if index == 0 {
            out.push_str(first);
        } else {
            out.extend(std::iter::repeat_n(' ', first_columns));
        }
        out.push_str(&line);
        // A line that ended in an empty text would keep the spaces before it.
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
}

/// An error with its causes and with `hint`, ready for stderr.
pub fn error(err: &Error, hint: Option<&str>, width: usize) -> String {
    let mut out = String::new();
    let mut line = |style, label: &str, text: &str| {
        hanging(&mut out, &styled(style, label), columns(label), &printable(text), width);
    };
    for (depth, message) in err.chain().enumerate() {
        let (style, label) = if depth == 0 { (BAD, "error: ") } else { (DIM, "  caused by: ") };
        line(style, label, &message);
    }
    if let Some(hint) = hint {
        line(BOLD, "hint: ", hint);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_causes_and_its_hint_within_the_width() {
        let cause = std::io::Error::other("the disk\x1b[2J is full, and has been so for quite some time now");
        let err = Error::caused_by("failed to write `config.toml`", cause).with_hint("make room");
        let shown = error(&err, err.hint(), 44);
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert_eq!(
            plain,
            "error: failed to write `config.toml`\n\
             \x20 caused by: the disk\\u{1b}[2J is full, and\n\
             \x20            has been so for quite some time\n\
             \x20            now\n\
             hint: make room\n"
        );
    }
}
