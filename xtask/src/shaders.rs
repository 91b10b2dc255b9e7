//! `cargo xtask shaders`: compiles `plugins/gpu-pearl/src/shaders/matrix.comp` for every size of matrices, and the kernels
//! for NVIDIA's cards (`shaders/cuda`) to PTX.
//!
//! wgpu knows no int8 matrices, so these kernels are passed through as SPIR-V, which takes no sizes at run time: one file
//! for each. Both text and code are kept in the repository, so that a build needs no compiler of shaders. It is taken from
//! the tree that `plugins/gpu-pearl/software-gpu.sh` lays out, whose version is known. PTX comes from clang 14, which needs
//! nothing of CUDA; another version would write other text.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// Rows, columns, depth, lanes, part: as in `plugins/gpu-pearl/src/matrices.rs`.
const SIZES: [[u32; 5]; 6] = [
    [8, 8, 8, 8, 32],
    [16, 16, 16, 32, 64],
    [16, 16, 16, 64, 64],
    [16, 16, 32, 32, 64],
    [8, 8, 32, 8, 32],
    [8, 16, 32, 16, 32],
];

#[derive(clap::Args)]
pub struct Args {
    /// Only say whether what is in the repository is what would be made
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let kept = sh::root().join("plugins/gpu-pearl/src/shaders/spv");
    if args.check {
        println!("{}", check()?);
        return Ok(());
    }
    sh::fresh(&kept)?;
    make(&kept)?;
    if let Some(why) = no_clang() {
        bail!("{why}");
    }
    ptx(&sh::root().join(CUDA))
}

/// Compares what is kept with what would be made.
pub fn check() -> Result<String> {
    let spirv = check_spirv()?;
    Ok(format!("{spirv}; {}", check_ptx()?))
}

/// Where the kernels for NVIDIA's cards are, as text and as PTX.
const CUDA: &str = "plugins/gpu-pearl/src/shaders/cuda";

/// Why PTX cannot be made here, if so.
fn no_clang() -> Option<String> {
    let said = Command::new("clang").arg("--version").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    (!said.contains("version 14.")).then(|| "PTX is made by clang 14, which is not here".to_owned())
}

fn check_ptx() -> Result<String> {
    if let Some(why) = no_clang() {
        return Ok(format!("skipped: {why}"));
    }
    let made = sh::target().join("xtask/ptx");
    sh::fresh(&made)?;
    ptx(&made)?;
    for name in ["operand", "product"] {
        let read = |folder: &Path| std::fs::read(folder.join(format!("{name}.ptx")));
        if read(&made)? != read(&sh::root().join(CUDA)).unwrap_or_default() {
            bail!("{name}.ptx is not what {name}.cu compiles to; run `cargo xtask shaders`");
        }
    }
    Ok("so is the PTX".to_owned())
}

/// Compiles the kernels for NVIDIA's cards into a folder.
fn ptx(folder: &Path) -> Result<()> {
    for name in ["operand", "product"] {
        let mut compile = Command::new("clang");
        compile.args([
            "-x",
            "cuda",
            "--cuda-device-only",
            "--cuda-gpu-arch=sm_80",
            "-nocudainc",
            "-nocudalib",
        ]);
        compile.args(["-Xclang", "-target-feature", "-Xclang", "+ptx71", "-O3", "-S"]);
        compile.arg(sh::root().join(CUDA).join(format!("{name}.cu")));
        sh::run(compile.arg("-o").arg(folder.join(format!("{name}.ptx"))))?;
    }
    Ok(())
}

fn check_spirv() -> Result<String> {
    let kept = sh::root().join("plugins/gpu-pearl/src/shaders/spv");
    let made = sh::target().join("xtask/spv");
    sh::fresh(&made)?;
    make(&made)?;
    let mut files = 0;
    for entry in std::fs::read_dir(&made)? {
        let entry = entry?;
        let kept = std::fs::read(kept.join(entry.file_name())).with_context(|| {
            format!("{} is missing; run `cargo xtask shaders`", entry.file_name().display())
        })?;
        if kept != std::fs::read(entry.path())? {
            bail!(
                "{} is not what matrix.comp compiles to; run `cargo xtask shaders`",
                entry.file_name().display()
            );
        }
        files += 1;
    }
    Ok(format!("{files} shaders are what their text compiles to"))
}

fn make(folder: &Path) -> Result<()> {
    let source = sh::root().join("plugins/gpu-pearl/src/shaders/matrix.comp");
    let tool = |name: &str| {
        let mut command = Command::new(sh::root().join("plugins/gpu-pearl/software-gpu.sh"));
        command.arg(name);
        command
    };
    for [rows, columns, depth, lanes, part] in SIZES {
        for (what, define) in [("product", None), ("limit", Some("-DLIMIT")), ("layout", Some("-DLAYOUT"))] {
            let file = folder.join(format!("int8-{rows}x{columns}x{depth}-{lanes}.{what}.spv"));
            let mut compile = tool("glslang");
            compile.args(["-V", "--quiet", "--target-env", "vulkan1.3", "-S", "comp"]).args(define);
            for (name, value) in
                [("ROWS", rows), ("COLUMNS", columns), ("DEPTH", depth), ("LANES", lanes), ("PART", part)]
            {
                compile.arg(format!("-D{name}={value}"));
            }
            sh::run(compile.arg(&source).arg("-o").arg(&file))?;
            sh::run(tool("spirv-opt").arg("-O").arg(&file).arg("-o").arg(&file))?;
            sh::run(tool("spirv-val").args(["--target-env", "vulkan1.3"]).arg(&file))?;
        }
    }
    Ok(())
}
