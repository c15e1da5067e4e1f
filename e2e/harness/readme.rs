//! Finds the commands of a Markdown page, so that tests run exactly what the page tells a reader to run.

use super::{Fail, repository};

/// The fenced block that follows the comment `<!-- e2e: NAME -->` in a page of the repository.
pub fn block(page: &str, name: &str) -> Result<String, Fail> {
    let path = repository(page);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
    let mark = format!("<!-- e2e: {name} -->");
    let (_, after) = text.split_once(&mark).ok_or_else(|| format!("{page} has no {mark}"))?;
    let mut lines = after.lines().skip_while(|line| !line.starts_with("```"));
    lines.next().ok_or_else(|| format!("no fenced block follows {mark} in {page}"))?;
    Ok(lines.take_while(|line| !line.starts_with("```")).collect::<Vec<_>>().join("\n"))
}
