//! `volsync-hub validate`: says offline of files what an API server and the hub would say of their objects.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use check::{Checked, Finding};

mod check;

/// Checks policies, KopiaRepositories and MemberClusters in files, without any cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct ValidateArgs {
    /// YAML or JSON files, directories of them, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: OutputFormat,
    /// Also names the objects that are right
    #[arg(short, long)]
    pub verbose: bool,
    /// An image that the hub is started with; where neither this nor the next is given, both fields are left alone
    #[arg(long, value_name = "IMAGE")]
    pub allowed_image: Vec<String>,
    /// A ServiceAccount that the hub is started with
    #[arg(long, value_name = "NAME")]
    pub allowed_service_account: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    Text,
    Json,
}

/// What was found in all files together.
#[derive(Debug, Default, Serialize)]
struct Report {
    valid: bool,
    /// Of the three kinds.
    objects: usize,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    #[serde(skip)]
    right: Vec<Finding>,
}

/// Success only if nothing is wrong. Fails where the result can't be printed; a file that can't be read is a finding.
pub fn run(args: &ValidateArgs) -> Result<ExitCode, String> {
    let mut report = Report::default();
    for path in files(&args.files, &mut report) {
        match text(&path) {
            Ok(text) => report.add(check::check(&shown(&path), &text, &args.into())),
            Err(error) => report.unreadable(&path, &format!("cannot be read: {error}")),
        }
    }
    report.valid = report.errors.is_empty();
    if report.objects == 0 && report.valid && report.warnings.is_empty() {
        let paths: Vec<_> = args.files.iter().map(|path| shown(path)).collect();
        return Err(format!("no object was found in {}", paths.join(", ")));
    }
    let written = match args.output {
        OutputFormat::Json => print_json(&report),
        OutputFormat::Text => print_text(&report, args.verbose || io::stdout().is_terminal()),
    };
    match written {
        // Whoever read enough has the exit code too.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(format!("cannot print the result: {error}"));
        }
        _ => {}
    }
    Ok(if report.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

// === impl Report ===

impl Report {
    fn add(&mut self, checked: Checked) {
        self.objects += checked.objects;
        self.errors.extend(checked.errors);
        self.warnings.extend(checked.warnings);
        self.right.extend(checked.right);
    }

    fn unreadable(&mut self, path: &Path, message: &str) {
        self.errors.push(Finding { file: shown(path), message: message.to_owned(), ..Finding::default() });
    }
}

fn print_json(report: &Report) -> io::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer_pretty(&mut output, report)?;
    writeln!(output)
}

fn print_text(report: &Report, right: bool) -> io::Result<()> {
    let mut output = anstream::stdout().lock();
    for finding in &report.errors {
        writeln!(output, "{finding}")?;
    }
    if right {
        for finding in &report.right {
            writeln!(output, "{finding}")?;
        }
    }
    let mut notes = anstream::stderr().lock();
    for finding in &report.warnings {
        writeln!(notes, "{finding}")?;
    }
    if right {
        let (errors, objects) = (report.errors.len(), report.objects);
        let ending = |count: usize| if count == 1 { "" } else { "s" };
        writeln!(notes, "{objects} object{} checked, {errors} error{}", ending(objects), ending(errors))?;
    }
    Ok(())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let parts = [self.object.as_deref(), self.field.as_deref(), Some(self.message.as_str())];
        parts.iter().flatten().filter(|part| !part.is_empty()).try_for_each(|part| write!(f, ": {part}"))
    }
}

// === files ===

/// Each file once, those of a directory in order of their names.
fn files(paths: &[PathBuf], report: &mut Report) -> Vec<PathBuf> {
    let (mut found, mut seen, mut walked) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for path in paths {
        let mut below = Vec::new();
        if path.is_dir() {
            if let Err(error) = walk(path, &mut walked, &mut below) {
                report.unreadable(path, &format!("cannot be read: {error}"));
            }
        } else {
            below.push(path.clone());
        }
        found.extend(below.into_iter().filter(|path| seen.insert(path.clone())));
    }
    found
}

/// Links may lead in a circle: no directory is walked twice.
fn walk(directory: &Path, walked: &mut BTreeSet<PathBuf>, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if !walked.insert(fs::canonicalize(directory)?) {
        return Ok(());
    }
    let entries = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            if !hidden {
                walk(&path, walked, found)?;
            }
        } else if !hidden && matches!(extension, Some("yaml" | "yml" | "json")) {
            found.push(path);
        }
    }
    Ok(())
}

fn text(path: &Path) -> io::Result<String> {
    if path != Path::new("-") {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}
