//! `cargo xtask machine-code`: what the GPU provider's kernels become on cards that are not here.
//!
//! The makers' own compilers need no card: NVIDIA's assembler comes in the wheels that its Python packages are made of.
//! Registers, spills and matrix instructions of each kernel are kept in `plugins/gpu-pearl/machine-code.txt`; a kernel that
//! spills is an error, whatever is kept. What cannot be had here is said and left as it was.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// The packages, in the versions that the snapshot was made with, and the program in each.
const ASSEMBLER: (&str, &str, &str) =
    ("nvidia-cuda-nvcc-cu12==12.9.86", "nvidia/cuda_nvcc/bin/ptxas", "ptxas");
const DISASSEMBLER: (&str, &str, &str) =
    ("nvidia-cuda-nvdisasm==13.5.37", "nvidia/cu13/bin/nvdisasm", "nvdisasm");
/// Ampere, Ada, Hopper and Blackwell.
const ARCHITECTURES: [&str; 4] = ["sm_80", "sm_89", "sm_90", "sm_120"];
const TEXTS: [&str; 2] = ["operand", "product"];

#[derive(clap::Args)]
pub struct Args {
    /// Only say whether what is kept is what the compilers make
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.check {
        println!("{}", check()?);
        return Ok(());
    }
    match nvidia()? {
        Ok(text) => sh::write(&kept(), text),
        Err(why) => bail!("{why}"),
    }
}

/// Compares what is kept with what the compilers make, or says in a line that begins with `skipped: ` why not.
pub fn check() -> Result<String> {
    let text = match nvidia()? {
        Ok(text) => text,
        Err(why) => return Ok(format!("skipped: {why}")),
    };
    let before = std::fs::read_to_string(kept()).context("plugins/gpu-pearl/machine-code.txt is missing")?;
    if let Some((old, new)) = before.lines().zip(text.lines()).find(|(old, new)| old != new) {
        bail!(
            "a kernel compiles to something else than is kept; `cargo xtask machine-code` writes it\n-{old}\n+{new}"
        );
    }
    if before.lines().count() != text.lines().count() {
        bail!("machine-code.txt has other kernels; `cargo xtask machine-code` writes it");
    }
    Ok(format!("{} kernels, none spills", text.lines().filter(|line| line.contains(" sm_")).count()))
}

fn kept() -> PathBuf {
    sh::root().join("plugins/gpu-pearl/machine-code.txt")
}

/// The table for NVIDIA's cards; or why it cannot be made here.
fn nvidia() -> Result<Result<String, String>> {
    let folder = sh::target().join("ptxas");
    let mut programs = Vec::new();
    for (package, path, name) in [ASSEMBLER, DISASSEMBLER] {
        match fetch(&folder, package, path)? {
            Ok(program) => programs.push(program),
            Err(why) => return Ok(Err(format!("{name} of {package}: {why}"))),
        }
    }
    let mut text = String::from(
        "# What NVIDIA's assembler makes of the kernels by PTX: written by `cargo xtask machine-code`, no card needed.\n\
         # kernel architecture: registers, bytes spilled, matrix instructions (those of the loop over k, unrolled)\n",
    );
    for name in TEXTS {
        for architecture in ARCHITECTURES {
            let source = sh::root().join(format!("plugins/gpu-pearl/src/shaders/cuda/{name}.ptx"));
            let made = folder.join(format!("{name}.{architecture}.cubin"));
            let mut assemble = Command::new(&programs[0]);
            assemble.args(["-v", "-arch", architecture]).arg(&source).arg("-o").arg(&made);
            let output = assemble.output().context("cannot run ptxas")?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if !output.status.success() {
                bail!("ptxas does not take {name}.ptx for {architecture}:\n{said}");
            }
            let mut disassemble = Command::new(&programs[1]);
            let code = sh::output(disassemble.arg(&made))?;
            text.push_str(&table(architecture, &said, &String::from_utf8_lossy(&code))?);
        }
    }
    Ok(Ok(text))
}

/// One line a kernel, from what the assembler said (`-v`) and the code that came of it.
fn table(architecture: &str, said: &str, code: &str) -> Result<String> {
    let mut lines: Vec<String> = Vec::new();
    let (mut kernel, mut spilled) = (String::new(), 0);
    for line in said.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next().unwrap_or_default().to_owned();
        } else if line.contains("spill stores") {
            spilled = numbers(line).iter().skip(1).sum();
        } else if let Some((_, rest)) = line.split_once("Used ") {
            let registers = numbers(rest).first().copied().context("registers are a number")?;
            if spilled > 0 {
                bail!("{kernel} spills {spilled} bytes on {architecture}");
            }
            let matrices = section(code, &kernel).matches("IMMA.").count();
            lines.push(format!("{kernel} {architecture}: {registers}, {spilled}, {matrices}\n"));
        }
    }
    lines.sort();
    Ok(lines.concat())
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// The code of one kernel.
fn section<'a>(code: &'a str, kernel: &str) -> &'a str {
    let begin = format!(".text.{kernel}:");
    let Some((_, rest)) = code.split_once(&begin) else { return "" };
    rest.split(".section").next().unwrap_or_default()
}

/// A program of a package, laid out under the target folder; or why it cannot be had.
fn fetch(folder: &Path, package: &str, path: &str) -> Result<Result<PathBuf, String>> {
    let at = folder.join(package);
    let program = at.join(path);
    if program.is_file() {
        return Ok(Ok(program));
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(Err("it is fetched on x86-64 Linux only".into()));
    }
    if !sh::has("python3") {
        return Ok(Err("python3 with pip fetches it, and is not here".into()));
    }
    sh::fresh(&at)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package, "-d"])
        .arg(&at);
    let output = pip.output().context("cannot run python3")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("pip failed");
        return Ok(Err(line.to_owned()));
    }
    let wheels = std::fs::read_dir(&at)?.flatten().map(|entry| entry.path());
    let wheel = wheels
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "whl"))
        .context("pip fetched no wheel")?;
    let mut unpack = Command::new("python3");
    let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[3], sys.argv[2])";
    sh::run(unpack.args(["-c", script]).arg(&wheel).arg(&at).arg(path))?;
    sh::set_mode(&program, 0o755)?;
    Ok(Ok(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "ptxas info    : Compiling entry function 'product' for 'sm_89'\n\
        ptxas info    : Function properties for product\n    \
        0 bytes stack frame, SPILLED bytes spill stores, 0 bytes spill loads\n\
        ptxas info    : Used 224 registers, used 1 barriers, 448 bytes cmem[0]\n";

    #[test]
    fn a_kernel_is_a_line_and_one_that_spills_an_error() {
        let code = ".section .text.limit\n.text.limit:\n IMMA.16832.S8.S8 R1;\n\
                    .section .text.product\n.text.product:\n IMMA.16832.S8.S8 R1;\n IMMA.16832.S8.S8 R2;\n";
        let text = table("sm_89", &SAID.replace("SPILLED", "0"), code).unwrap();
        assert_eq!(text, "product sm_89: 224, 0, 2\n");
        let err = table("sm_89", &SAID.replace("SPILLED", "16"), code).unwrap_err();
        assert!(err.to_string().contains("spills 16 bytes on sm_89"), "{err}");
    }
}
