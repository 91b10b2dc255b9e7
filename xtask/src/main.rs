//! Development commands: what CI runs, what a release is made of, and the demonstration.
//!
//! It stands on few crates, because it is compiled before anything else happens. The bundled providers are known
//! here and in the documents, never in `host`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a person runs here, a person reads")]

mod bench;
mod demo;
mod dist;
mod gpu_check;
mod image;
mod lanes;
mod machine_code;
mod macos;
mod package;
// The host's own file: the development commands cannot wait for the host to be compiled.
#[path = "../../host/src/progress.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "the host counts steps and bytes, too"))]
mod progress;
mod sh;
mod shaders;
mod sign;
mod tally;
mod test;
mod units;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Development commands of pearlbed")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all that CI runs: formatting, lints, documents, tests, packages, the demonstration
    Test(test::Args),
    /// Build everything in release, lay it out as an installation would, and make the packages
    Dist(dist::Args),
    /// Build a container image with Docker or Podman
    Image(image::Args),
    /// Build, mine on the built-in devnet until three blocks are verified, and stop
    Demo(demo::Args),
    /// Measure, in release
    Bench(bench::Args),
    /// Type-check and lint for macOS, on any machine; takes minutes and tools that it names
    CheckMacos(macos::Args),
    /// Measure and check every kernel of this machine's graphics cards, in under three minutes
    GpuCheck(gpu_check::Args),
    /// Compile the GPU provider's kernels that are kept compiled: SPIR-V and PTX
    Shaders(shaders::Args),
    /// Write down what the GPU provider's kernels become on NVIDIA's cards; needs none
    MachineCode(machine_code::Args),
    /// Write the man pages to target/man
    Man,
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(err) => {
            // The causes, without the stack that an error carries where RUST_BACKTRACE is set.
            eprintln!("error: {err:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    std::env::set_current_dir(sh::root())?;
    match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Dist(args) => dist::run(&args).map(|_| ()),
        Command::Image(args) => image::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::CheckMacos(args) => macos::run(&args),
        Command::GpuCheck(args) => gpu_check::run(&args),
        Command::Shaders(args) => shaders::run(&args),
        Command::MachineCode(args) => machine_code::run(&args),
        Command::Man => {
            sh::build::<&str>(sh::Profile::Dev, &[])?;
            let folder = sh::target().join("man");
            dist::man_pages(&sh::pearlbed(sh::Profile::Dev), &folder)?;
            println!("{}", folder.display());
            Ok(())
        }
    }
}
