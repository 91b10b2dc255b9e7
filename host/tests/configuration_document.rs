//! `docs/configuration.md` lists the settings as the program knows them.
//!
//! With `PEARLBED_BLESS=1` in the environment the test writes the table instead of comparing it.

use std::fmt::Write;
use std::path::Path;

use pearlbed::config::keys::{KEYS, Key, MINER_KEYS, MINERS};

const BEGIN: &str = "<!-- The tables are written by host/tests/configuration_document.rs -->\n";
const END: &str = "<!-- end of the tables -->\n";

fn table() -> String {
    let mut out = String::new();
    let mut last = "";
    for key in KEYS.iter().chain(MINER_KEYS) {
        if key.table() != last {
            last = key.table();
            let shown = if last == MINERS { format!("[[{last}]]") } else { format!("[{last}]") };
            write!(
                out,
                "\n### `{shown}`\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n"
            )
            .expect("writing to a String never fails");
        }
        row(&mut out, key);
    }
    out.push('\n');
    out
}

fn row(out: &mut String, key: &Key) {
    let default = key.default.map_or("not set".to_owned(), |default| format!("`{default}`"));
    let example =
        if key.default == Some(key.example) { String::new() } else { format!(", as `{}`", key.example) };
    let help = key.help.replace('|', "\\|").replace('<', "&lt;");
    writeln!(
        out,
        "| `{}` | {}{example} | {default} | {help} |",
        key.name(),
        key.kind.describe().replace('<', "&lt;")
    )
    .expect("writing to a String never fails");
}

#[test]
fn the_document_lists_every_setting_as_the_program_knows_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = document.split_once(BEGIN).expect("the document has the first mark");
    let (now, tail) = rest.split_once(END).expect("the document has the second mark");
    let expected = table();
    if std::env::var_os("PEARLBED_BLESS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{expected}{END}{tail}")).unwrap();
        return;
    }
    assert!(now == expected, "docs/configuration.md is out of date; PEARLBED_BLESS=1 cargo test writes it");
}
