//! `pearlbed models`: the checkpoints that mine while they serve.

use serde_json::json;

use super::{Context, Error, render};
use crate::exit::Exit;
use crate::models::{self, Status};

const EXAMPLES: &str = "\
Examples:
  pearlbed models            what there is, and how far it has come
  pearlbed models --json     for scripts
  pearlbed inspect-model ~/models/Llama-3.3-70B-Instruct-pearl";

/// List the models that mine while they serve
///
/// Only providers that run an inference engine need one; a CPU provider does not.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the registry.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let models = models::registry();
    if args.json {
        context.print_json(&json!({ "schema": 1, "models": models }))?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    for model in &models {
        let style = if model.status == Status::Validated { render::GOOD } else { render::DIM };
        out.push_str(&render::padded(style, model.status.word(), 11));
        out.push_str(&render::styled(render::BOLD, &model.id));
        out.push('\n');
        let facts = format!("from {}; {} GiB VRAM; context {}", model.base, model.vram, model.context);
        render::hanging(&mut out, &" ".repeat(11), 11, &facts, context.width());
        render::hanging(&mut out, &" ".repeat(11), 11, &model.notes, context.width());
    }
    context.print(&out)?;
    Ok(Exit::Ok)
}
