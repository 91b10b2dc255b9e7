//! `pearlbed inspect-model`: whether a checkpoint can mine, before hours are spent on it.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Context, Error, render};
use crate::config::nearest;
use crate::exit::Exit;
use crate::models::{self, Inspection, State, Status};
use crate::text::{columns, printable, printable_path};

const EXAMPLES: &str = "\
Examples:
  pearlbed inspect-model ~/models/Llama-3.3-70B-Instruct-pearl
  pearlbed inspect-model ./my-checkpoint --output report.json
  pearlbed inspect-model pearl-ai/Llama-3.1-8B-Instruct-pearl     what the registry knows";

/// Check a checkpoint folder before spending GPU time on it
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder of a checkpoint, or the id of a model
    #[arg(value_name = "PATH|ID", required_unless_present = "named")]
    model: Option<String>,

    /// The same, as OpenJarvis' command has it
    #[arg(long = "model", id = "named", value_name = "PATH|ID", conflicts_with = "model")]
    named: Option<String>,

    /// Pass also the registry's row of a model that is planned
    #[arg(long)]
    allow_planned: bool,

    /// Also write the answer as JSON to FILE
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Looks at the folder, or at the registry's row.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let wanted = args.model.as_ref().or(args.named.as_ref()).map_or("", String::as_str);
    let path = Path::new(wanted);
    let (document, text, ok) = if path.exists() {
        let inspection = models::inspect(path)?;
        let document = json!({
            "schema": 1,
            "schema_version": 1,
            "model": wanted,
            "status": if inspection.ok { "passed" } else { "failed" },
            "ok": inspection.ok,
            "path": inspection.path,
            "architectures": inspection.architectures,
            "weight_bytes": inspection.weight_bytes,
            "registry": inspection.model,
            "checks": inspection.checks,
        });
        (document, folder_text(&inspection, context.width()), inspection.ok)
    } else {
        let model = models::find(wanted).ok_or_else(|| unknown(wanted))?;
        let ok = match model.status {
            Status::Validated | Status::Published => true,
            Status::Planned => args.allow_planned,
            Status::Refused => false,
        };
        let mut text = format!("{}: {}\n", render::styled(render::BOLD, &model.id), model.status.word());
        let facts = format!(
            "from {}; {} GiB VRAM; context {}. {}",
            model.base, model.vram, model.context, model.notes
        );
        render::hanging(&mut text, "  ", 2, &facts, context.width());
        let next = "This is the registry's row; no file was looked at. Download the checkpoint and give its folder to \
                    check it.";
        render::hanging(&mut text, "  ", 2, next, context.width());
        let document = json!({
            "schema": 1,
            "schema_version": 1,
            "model": wanted,
            "status": "registry",
            "ok": ok,
            "registry": model,
            "checks": [],
        });
        (document, text, ok)
    };
    if let Some(file) = &args.output {
        let text = format!("{document:#}\n");
        std::fs::write(file, text).map_err(|err| {
            Error::of_other_file(format!("failed to write {}", printable_path(file)), err, file)
        })?;
        context.note(&format!("wrote {}", printable_path(file)));
    }
    if args.json {
        context.print_json(&document)?;
    } else {
        context.print(&text)?;
    }
    Ok(if ok { Exit::Ok } else { Exit::Failed })
}

fn unknown(model: &str) -> Error {
    let ids = models::registry();
    let names = ids.iter().flat_map(|model| [model.id.as_str(), model.base.as_str()]);
    let hint = match nearest(model, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "give the folder of a checkpoint, or an id from `pearlbed models`".to_owned(),
    };
    let err = Error::new(format!("`{model}` is neither a folder nor a model of the registry"));
    err.with_hint(hint).with_exit(Exit::Futile)
}

fn folder_text(inspection: &Inspection, width: usize) -> String {
    let mut out = format!("{}\n", render::styled(render::BOLD, &printable_path(&inspection.path)));
    let ids = inspection.checks.iter().map(|check| columns(check.id)).max().unwrap_or(0);
    for check in &inspection.checks {
        let (style, word) = match check.state {
            State::Ok => (render::GOOD, "ok"),
            State::Warn => (render::WARN, "warn"),
            State::Fail => (render::BAD, "fail"),
            State::Skip => (render::DIM, "skip"),
        };
        let first = format!("{}{:ids$}  ", render::padded(style, word, 6), check.id);
        render::hanging(&mut out, &first, 6 + ids + 2, &printable(&check.finding), width);
        if let Some(fix) = &check.fix {
            render::hanging(&mut out, &" ".repeat(6 + ids + 2), 6 + ids + 2, &format!("hint: {fix}"), width);
        }
    }
    let verdict =
        if inspection.ok { "Nothing is in the way." } else { "This checkpoint cannot mine as it is." };
    out.push_str(verdict);
    out.push('\n');
    out
}
