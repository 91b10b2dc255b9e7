//! The `pearlbed` command: parse, call, exit. Everything else is in the library.

fn main() -> std::process::ExitCode {
    pearlbed::cli::main()
}
