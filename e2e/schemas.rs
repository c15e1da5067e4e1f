//! The API server's own judgement of good and bad objects of the hub's kinds.

use std::path::PathBuf;

use futures::future::join_all;

use crate::harness::fleet::Fleet;
use crate::harness::shell::Shell;
use crate::harness::{self, Fail, repository};

#[test]
fn every_good_object_is_accepted() -> Result<(), Fail> {
    harness::run(async {
        let shell = &Fleet::shared().await?.hub.shell;
        let files = manifests("e2e/manifests/good")?;
        all(join_all(files.iter().map(|file| accepted(shell, file))).await)
    })
}

#[test]
fn every_bad_object_is_refused_with_the_words_of_its_first_line() -> Result<(), Fail> {
    harness::run(async {
        let shell = &Fleet::shared().await?.hub.shell;
        let files = manifests("e2e/manifests/bad")?;
        all(join_all(files.iter().map(|file| refused(shell, file))).await)
    })
}

/// Every failure in one message.
fn all(results: Vec<Result<(), Fail>>) -> Result<(), Fail> {
    let failures: Vec<_> = results.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// All manifests of a directory, of which there must be some.
fn manifests(dir: &str) -> Result<Vec<PathBuf>, Fail> {
    let entries = std::fs::read_dir(repository(dir)).map_err(|error| format!("can't read {dir}: {error}"))?;
    let mut files: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    if files.is_empty() { Err(format!("no manifests in {dir}").into()) } else { Ok(files) }
}

async fn accepted(shell: &Shell, file: &PathBuf) -> Result<(), Fail> {
    let manifest = std::fs::read_to_string(file)?;
    let output = shell.kubectl_with("create --dry-run=server --validate=strict", &manifest).await?;
    output.ok().map(drop).map_err(|said| format!("{} was refused: {said}", file.display()).into())
}

async fn refused(shell: &Shell, file: &PathBuf) -> Result<(), Fail> {
    let manifest = std::fs::read_to_string(file)?;
    let first = manifest.lines().next().unwrap_or_default();
    let expected =
        first.strip_prefix("# expect: ").ok_or_else(|| format!("{}: line 1 expects nothing", file.display()))?;
    let output = shell.kubectl_with("create --dry-run=server --validate=strict", &manifest).await?;
    let said = output.refused().map_err(|said| format!("{}: {said}", file.display()))?;
    match expected.split(" && ").find(|words| !said.contains(words)) {
        None => Ok(()),
        Some(words) => Err(format!("{}: expected {words:?}, and the server said: {said}", file.display()).into()),
    }
}
