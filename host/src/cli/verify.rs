//! `pearlbed verify`: whether a plain proof is valid, and if not, where it breaks and why it probably does.
//!
//! The verdict is `pearl_pow`'s. Here the job is put together from the flags, the proof is read, and every
//! stage is shown with what was found.

use std::io::Read;
use std::path::PathBuf;

use base64::Engine as _;
use pearl_pow::diagnosis::{Diagnosis, diagnose};
use pearl_pow::verify::{Passed, verify_bytes_staged};
use pearl_pow::{CertificateVersion, CompactTarget, Header, Job, Rejection, Stage, Target, U256, Verified};
use serde_json::{Value, json};

use super::render::{BAD, BOLD, DIM, GOOD, WARN, hanging, padded, styled};
use super::{Context, Error};
use crate::exit::Exit;
use crate::text::{columns, printable_path};
use crate::work::pool::rejected::Record;

const EXAMPLES: &str = "\
Examples:
  pearlbed verify --header 00000020…1e --cert-version 3 proof.b64
  pearlbed verify --header 00000020…1e --cert-version 3 --rank-penalty \\
      --target 00000000ffff… < proof.bin
  pearlbed verify --header 00000020…1e --cert-version 3 --json proof.b64
  pearlbed verify ~/.openjarvis/runtime/rejected/…json   what a pool refused
  pearlbed verify ~/.openjarvis/runtime/refused/…json    what pearlbed refused
  pearlbed verify ~/.openjarvis/runtime/proofs/….proof   what is still owed

Exit status: 0 if the proof is valid, 1 if not, 2 if the command line is wrong.";

/// Check a plain proof stage by stage, and say what is wrong with it
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The job's header: 152 hex digits, or base64 as a gateway sends it; a file of `runtime` has it
    #[arg(long, value_name = "HEX", value_parser = parse_header)]
    header: Option<Header>,

    /// The certificate version that the job asks for: 1, 2 or 3; a file of `runtime` has it
    #[arg(long, value_name = "N", value_parser = parse_certificate)]
    cert_version: Option<CertificateVersion>,

    /// The unscaled target, most significant digit first [default: the header's]
    #[arg(long, value_name = "HEX", value_parser = parse_target, conflicts_with = "nbits")]
    target: Option<Target>,

    /// The target in compact form, 8 hex digits such as 1d00ffff
    #[arg(long, value_name = "HEX", value_parser = parse_nbits)]
    nbits: Option<CompactTarget>,

    /// Apply the rank-penalty rule, which is in force on mainnet
    #[arg(long)]
    rank_penalty: bool,

    /// Print the answer as JSON (docs/json.md)
    #[arg(long)]
    json: bool,

    /// The proof, binary or base64, a file of `runtime/proofs` or `runtime/refused`, or the record of a rejected share, which
    /// bring their job along; stdin if it is missing or `-`
    #[arg(value_name = "PROOF")]
    proof: Option<PathBuf>,
}

/// The most that is read. A legal proof is smaller than 8 MiB in either form.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// Checks the proof and prints what each stage found.
pub fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let bytes = read(args.proof.as_deref())?;
    let stated = args.target.or_else(|| args.nbits.map(CompactTarget::target));
    let (job, input) = match Record::read(&bytes) {
        Some(record) => of_record(args, stated, &record)?,
        None if bytes.trim_ascii_start().starts_with(b"{") => {
            let (input, job) = kept(&bytes)?;
            let header = args.header.unwrap_or(job.header);
            let certificate = args.cert_version.unwrap_or(job.certificate);
            let rank_penalty = args.rank_penalty || job.rank_penalty;
            (Job { header, target: stated.or(job.target), certificate, rank_penalty }, input)
        }
        None => {
            let missing = |flag: &str| {
                Error::usage(format!("{flag} is missing"))
                    .with_hint("the job's header and certificate version are needed to check a proof against")
            };
            let job = Job {
                header: args.header.ok_or_else(|| missing("--header"))?,
                target: stated,
                certificate: args.cert_version.ok_or_else(|| missing("--cert-version"))?,
                rank_penalty: args.rank_penalty,
            };
            (job, Input::decode(bytes)?)
        }
    };
    let answer = Answer::of(job, input);
    if args.json {
        context.print_json(&answer.as_json())?;
    } else {
        context.print(&answer.as_text(context.width()))?;
    }
    Ok(if answer.result.is_ok() { Exit::Ok } else { Exit::Failed })
}

/// The job and the proof of a rejected share. What the flags say goes before what the record says.
fn of_record(args: &Args, stated: Option<Target>, record: &Record) -> Result<(Job, Input), Error> {
    let broken = |what: String| Error::new(format!("the record of a rejected share is broken: {what}"));
    let header = match args.header {
        Some(header) => header,
        None => parse_header(&record.header).map_err(broken)?,
    };
    let certificate = match args.cert_version {
        Some(certificate) => certificate,
        None => CertificateVersion::try_from(record.cert_version).map_err(|err| broken(err.to_string()))?,
    };
    let target = match stated {
        Some(target) => target,
        None => parse_target(&record.rounded_target).map_err(broken)?,
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(&record.proof)
        .map_err(|err| broken(err.to_string()))?;
    let job = Job { header, target: Some(target), certificate, rank_penalty: true };
    Ok((job, Input { bytes, form: "base64, in the record of a rejected share" }))
}

fn parse_header(text: &str) -> Result<Header, String> {
    // 76 bytes are 104 characters of base64 with one `=`, which no hex has.
    if text.ends_with('=') {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|err| format!("the header is not base64: {err}"))?;
        return Header::try_from(bytes.as_slice()).map_err(|err| err.to_string());
    }
    Header::from_hex(text).map_err(|err| err.to_string())
}

fn parse_certificate(text: &str) -> Result<CertificateVersion, String> {
    let number: u32 = text.parse().map_err(|_| "a certificate version is a number".to_owned())?;
    CertificateVersion::try_from(number).map_err(|err| err.to_string())
}

fn parse_target(text: &str) -> Result<Target, String> {
    Target::from_hex(text).map_err(|err| err.to_string())
}

fn parse_nbits(text: &str) -> Result<CompactTarget, String> {
    CompactTarget::from_hex(text).map_err(|err| err.to_string())
}

/// Reads the file, or stdin.
fn read(path: Option<&std::path::Path>) -> Result<Vec<u8>, Error> {
    let path = path.filter(|path| path.as_os_str() != "-");
    let name = path.map_or_else(|| "stdin".to_owned(), |path| format!("`{}`", printable_path(path)));
    let failed = |err| {
        let what = format!("failed to read the proof from {name}");
        match path {
            Some(path) => Error::of_other_file(what, err, path),
            None => Error::caused_by(what, err),
        }
    };
    let mut bytes = Vec::new();
    let reader: Box<dyn Read> = match path {
        Some(path) => Box::new(std::fs::File::open(path).map_err(failed)?),
        None => Box::new(std::io::stdin().lock()),
    };
    reader.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Error::new(format!("{name} is larger than 64 MiB, and no proof is")));
    }
    if bytes.is_empty() {
        return Err(Error::new(format!("{name} is empty")).with_hint("name a file, or pipe a proof in"));
    }
    Ok(bytes)
}

/// The proof in a file of ours, and its job.
fn kept(text: &[u8]) -> Result<(Input, Job), Error> {
    let wrong = |why: String| {
        if why == crate::work::proofs::CHECKSUM {
            return Error::new(format!("this file of a proof was changed since it was written: {why}"))
                .with_hint("copy it anew, byte for byte; one character is enough");
        }
        if why.contains("EOF while") {
            return Error::new("this file of a proof is cut off").with_hint("copy it anew, to its end");
        }
        Error::new(format!(
            "this is text in braces, and no file of `runtime/proofs` or `runtime/refused`: {why}"
        ))
        .with_hint("give the file as it is, or the proof alone, binary or base64")
    };
    let found = crate::work::proofs::read_file(text).map_err(wrong)?.found;
    let job = Job {
        header: Header::try_from(&found.job.header[..]).map_err(|err| wrong(err.to_string()))?,
        target: Some(Target::from_le_bytes(found.job.target)),
        certificate: CertificateVersion::try_from(found.job.certificate_version)
            .map_err(|err| wrong(err.to_string()))?,
        rank_penalty: found.job.rank_penalty,
    };
    Ok((Input { bytes: found.proof, form: "file" }, job))
}

/// A proof's bytes, and how they came.
struct Input {
    bytes: Vec<u8>,
    form: &'static str,
}

impl Input {
    /// Text that is base64 through and through is decoded. A binary proof has zero bytes near its start and
    /// never looks like text.
    fn decode(input: Vec<u8>) -> Result<Self, Error> {
        let text = input.trim_ascii();
        let looks_like_text =
            text.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(&byte));
        if !looks_like_text {
            return Ok(Self { bytes: input, form: "binary" });
        }
        // Line breaks are no part of the text form, and harmless here: people paste.
        let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|err| Error::caused_by("the proof is text, and not base64", err))?;
        Ok(Self { bytes, form: "base64" })
    }
}

/// What was found, ready to be shown.
struct Answer {
    job: Job,
    input: Input,
    passed: Vec<Passed>,
    result: Result<Verified, Rejection>,
    diagnosis: Option<Diagnosis>,
}

impl Answer {
    fn of(job: Job, input: Input) -> Self {
        let mut passed = Vec::new();
        let result = verify_bytes_staged(&job, &input.bytes, &mut |stage| passed.push(stage));
        let diagnosis = result.as_ref().err().and_then(|rejection| diagnose(&job, &input.bytes, rejection));
        Self { job, input, passed, result, diagnosis }
    }

    /// What a stage did: its state, and what it found.
    fn stage(&self, stage: Stage) -> (&'static str, String) {
        match self.passed.iter().find(|passed| passed.stage() == stage) {
            Some(Passed::RankPenalty { bound: None }) => return ("skip", "rule not asked for".to_owned()),
            Some(passed) => return ("ok", finding(passed)),
            None => {}
        }
        match &self.result {
            Err(rejection) if rejection.stage() == Some(stage) => ("fail", failure(rejection)),
            _ => ("skip", "not reached".to_owned()),
        }
    }

    /// Whether a proof that was checked at a target of its own also meets the header's.
    fn is_block(&self) -> Option<bool> {
        let verified = self.result.as_ref().ok()?;
        self.job.target?;
        Some(verified.meets(self.job.header.nbits().target(), self.job.rank_penalty))
    }

    /// The first difference, value by value, and what a miner compares its own with.
    fn differences(&self, rejection: &Rejection) -> Vec<(&'static str, String)> {
        match rejection {
            Rejection::Root { computed, transmitted, .. } => {
                let mut values = vec![("computed", hex(computed)), ("transmitted", hex(transmitted))];
                let config = self.passed.iter().find_map(|passed| match passed {
                    Passed::Pattern { config, .. } => Some(config),
                    _ => None,
                });
                if let Some(config) = config {
                    values.push(("job key", hex(&pearl_pow::job_key(&self.job.header, config))));
                    values.push(("configuration", hex(&config.to_bytes())));
                }
                values
            }
            Rejection::Difficulty { jackpot, bound } | Rejection::RankPenalty { jackpot, bound } => {
                vec![("jackpot", number(*jackpot)), ("bound", number(*bound))]
            }
            Rejection::TreeSize { declared, implied, .. } => {
                vec![("declared", declared.to_string()), ("implied", implied.to_string())]
            }
            Rejection::ValueRange { row, column, value, .. } => {
                vec![("row", row.to_string()), ("column", column.to_string()), ("value", value.to_string())]
            }
            _ => vec![],
        }
    }

    fn as_text(&self, width: usize) -> String {
        let mut out = String::new();
        let names = Stage::ALL.iter().map(|stage| stage.name().len()).max().unwrap_or(0);
        let indent = 4 + 2 + names + 2;
        let mut row = |style, state, name, finding: &str| {
            let first = format!("{}  {}  ", padded(style, state, 4), padded(BOLD, name, names));
            hanging(&mut out, &first, indent, finding, width);
        };
        for stage in Stage::ALL {
            let (state, finding) = self.stage(stage);
            let style = match state {
                "ok" => GOOD,
                "fail" => BAD,
                _ => DIM,
            };
            row(style, state, stage.name(), &finding);
        }
        if let Ok(verified) = &self.result {
            for deviation in &verified.deviations {
                row(WARN, "warn", "canonical", &format!("{deviation}; never emit such a proof"));
            }
        }
        if let Err(rejection) = &self.result {
            let differences = self.differences(rejection);
            if !differences.is_empty() {
                out.push('\n');
            }
            for (label, value) in differences {
                hanging(&mut out, &format!("{}  ", padded(DIM, label, 13)), 15, &value, width);
            }
        }
        out.push('\n');
        let mut line = |style, label: &str, text: &str| {
            hanging(&mut out, &styled(style, label), columns(label), text, width);
        };
        match &self.result {
            Ok(_) => {
                let rank = if self.job.rank_penalty { "with" } else { "without" };
                let version = self.job.certificate;
                line(
                    GOOD,
                    "valid: ",
                    &format!("certificate version {version}, {rank} the rank-penalty rule"),
                );
                match self.is_block() {
                    Some(true) => line(BOLD, "block: ", "the proof also meets the header's own target"),
                    Some(false) => line(DIM, "share: ", "the header's own target is not met"),
                    None => {}
                }
            }
            Err(rejection) => {
                let stage = rejection.stage().map_or("canonical", Stage::name);
                line(BAD, "invalid: ", &format!("refused at `{stage}`"));
            }
        }
        if let Some(diagnosis) = self.diagnosis {
            let label = if diagnosis.confirmed { "cause: " } else { "likely: " };
            line(BOLD, label, &diagnosis.mistake.to_string());
            if !diagnosis.confirmed {
                line(
                    DIM,
                    "or: ",
                    "a byte of it is wrong: take it once more from where it was made, and compare",
                );
            }
            if let Some(number) = diagnosis.mistake.section_15() {
                line(DIM, "see: ", &format!("docs/pearl-protocol.md, section 15, mistake {number}"));
            }
        }
        out
    }

    fn as_json(&self) -> Value {
        let stages: Vec<Value> = Stage::ALL
            .into_iter()
            .map(|stage| {
                let (state, finding) = self.stage(stage);
                json!({ "id": stage.name(), "state": state, "finding": finding })
            })
            .collect();
        let failure = self.result.as_ref().err().map(|rejection| {
            let differences: serde_json::Map<String, Value> = self
                .differences(rejection)
                .into_iter()
                .map(|(label, value)| (label.replace(' ', "_"), value.into()))
                .collect();
            json!({
                "stage": rejection.stage().map(Stage::name),
                "message": rejection.to_string(),
                "values": differences,
            })
        });
        let diagnosis = self.diagnosis.map(|diagnosis| {
            json!({
                "code": diagnosis.mistake.code(),
                "text": diagnosis.mistake.to_string(),
                "confirmed": diagnosis.confirmed,
                "section_15": diagnosis.mistake.section_15(),
            })
        });
        let proof = self.result.as_ref().ok().map(|verified| {
            json!({
                "m": verified.m,
                "n": verified.n,
                "k": verified.config.common_dim,
                "rank": verified.config.rank,
                "rows": offsets(&verified.config.rows),
                "cols": offsets(&verified.config.cols),
                "row_base": verified.row_base,
                "col_base": verified.col_base,
                "job_key": hex(&verified.job_key),
                "seed_a": hex(&verified.seeds.a),
                "seed_b": hex(&verified.seeds.b),
                "words": verified.transcript.words().map(|word| format!("{word:08x}")),
                "jackpot": number(verified.jackpot_number()),
                "bound": number(verified.bound),
            })
        });
        let deviations = self.result.as_ref().map_or(&[][..], |verified| &verified.deviations);
        json!({
            "schema": 1,
            "valid": self.result.is_ok(),
            "bytes": self.input.bytes.len(),
            "form": self.input.form,
            "job": {
                "header": self.job.header.to_string(),
                "cert_version": self.job.certificate.number(),
                "seed_rule": self.job.certificate.seed_rule().to_string(),
                "target": self.job.effective_target().to_string(),
                "rank_penalty": self.job.rank_penalty,
            },
            "stages": stages,
            "failure": failure,
            "diagnosis": diagnosis,
            "deviations": deviations.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "block": self.is_block(),
            "proof": proof,
        })
    }
}

/// What a stage that passed found, short enough for a line.
fn finding(passed: &Passed) -> String {
    match passed {
        Passed::Decode { bytes, encoding } => match encoding {
            pearl_pow::Encoding::Current => format!("{bytes} bytes"),
            pearl_pow::Encoding::LegacyV1 => format!("{bytes} bytes, without the trailing tag"),
        },
        Passed::Shape { m, n, k, rank } => format!("A {m} × {k}, B^T {n} × {k}, rank {rank}"),
        Passed::Pattern { config, row_base, col_base } => {
            format!("rows {row_base} + ({}), columns {col_base} + ({})", config.rows, config.cols)
        }
        Passed::Leaves { a, bt } => format!("{a} of A, {bt} of B^T"),
        Passed::Root { root, .. } => short(&hex(root)),
        Passed::Parameters => "rules 9 to 22".to_owned(),
        Passed::Values { entries } => format!("{entries} entries within -64 to 64"),
        Passed::Difficulty { jackpot, bound } => {
            format!("jackpot {} ≤ bound {}", short(&number(*jackpot)), short(&number(*bound)))
        }
        Passed::RankPenalty { bound: Some(bound) } => {
            format!("penalised bound {} met", short(&number(*bound)))
        }
        other => format!("{other:?}"),
    }
}

/// What a stage refused, without the long numbers, which [`Answer::differences`] has.
fn failure(rejection: &Rejection) -> String {
    match rejection {
        Rejection::Root { .. } => "mismatch: leaves and siblings lead to another root".to_owned(),
        Rejection::Difficulty { .. } => "the jackpot is above the bound".to_owned(),
        Rejection::RankPenalty { .. } => "the jackpot is above the rank-penalised bound".to_owned(),
        other => other.to_string(),
    }
}

fn offsets(pattern: &pearl_pow::PeriodicPattern) -> Vec<u32> {
    pattern.offsets().collect()
}

fn number(number: U256) -> String {
    format!("{number:064x}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first digits of a long number.
fn short(digits: &str) -> String {
    match digits.char_indices().nth(16) {
        Some((at, _)) => format!("{}…", &digits[..at]),
        None => digits.to_owned(),
    }
}
