//! `perf ab`: compares two revisions of memcrsd, each built from its own checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

use argh::FromArgs;

use crate::compare;
use crate::server::Recipe;

/// Build two revisions of memcrsd and run the table of perf compare against both.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "ab")]
pub(crate) struct Flags {
    /// the revision to compare with, as git rev-parse takes it
    #[argh(positional)]
    base: String,
    /// ids, or parts of ids, of the rows to run (all)
    #[argh(positional)]
    rows: Vec<String>,
    /// the revision whose figures stand first (the working tree as it is)
    #[argh(option)]
    head: Option<String>,
    /// rounds (5)
    #[argh(option, default = "5")]
    rounds: usize,
    /// seconds measured in each round (1.5)
    #[argh(option, default = "1.5")]
    seconds: f64,
}

/// # Errors
/// A message: no such revision, a build that fails, or a server that fails.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("memcrsd-ab-{}", std::process::id()));
    std::fs::create_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let result = build_both(flags, &folder).and_then(|(head, base)| {
        compare::command(&compare::Flags {
            server: head,
            peer: vec![base],
            rows: flags.rows.clone(),
            rounds: flags.rounds,
            seconds: flags.seconds,
            warmup: 0.3,
            memory: 1024,
            records: PathBuf::new(),
            no_record: true,
            list: false,
        })
    });
    // Only binaries are kept; checkouts are temporary.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

/// Head and base, built.
fn build_both(flags: &Flags, folder: &Path) -> Result<(Recipe, Recipe), String> {
    let base = build_revision(&flags.base, folder, "base")?;
    let head = if let Some(revision) = &flags.head {
        build_revision(revision, folder, "head")?
    } else {
        let root = output(Command::new("git").args(["rev-parse", "--show-toplevel"]))?;
        build(Path::new(&root), folder, "head", "the working tree")?
    };
    Ok((head, base))
}

fn build_revision(revision: &str, folder: &Path, name: &str) -> Result<Recipe, String> {
    let commit =
        output(Command::new("git").args(["rev-parse", "--short", &format!("{revision}^{{commit}}")]))?;
    let tree = folder.join(format!("{name}-tree"));
    output(Command::new("git").args(["worktree", "add", "--detach"]).arg(&tree).arg(&commit))?;
    let built = build(&tree, folder, name, &commit);
    output(Command::new("git").args(["worktree", "remove", "--force"]).arg(&tree))?;
    built
}

/// Builds the tree in `from` and keeps the binary as `folder/memcrsd-NAME`, since all builds share a target directory.
fn build(from: &Path, folder: &Path, name: &str, what: &str) -> Result<Recipe, String> {
    eprintln!("building {what}");
    let target = std::env::current_dir()
        .map_err(|e| e.to_string())?
        .join(std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()))
        .join("ab");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--release", "--package", "memcrsd", "--bin", "memcrsd"]);
    output(cargo.current_dir(from).env("CARGO_TARGET_DIR", &target))?;
    let binary = folder.join(format!("memcrsd-{name}"));
    let built = target.join("release/memcrsd");
    std::fs::copy(&built, &binary).map_err(|e| format!("{}: {e}", built.display()))?;
    Ok(Recipe::usual(name, &binary.to_string_lossy()))
}

/// Runs a command to its end; returns its output, or its errors.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
