//! The man page and the shell completions that `--print` prints. They are made from the table of options that `-h` shows. Pure
//! functions.
//!
//! So a document cannot name an option that the server does not take. Source: man(7); bash(1), "Programmable Completion";
//! zshcompsys(1), `_arguments`; fish's `complete`.

use super::getopt::{Spec, Takes};
use super::help::{self, OWN_VERSION, SPECS};
use std::fmt::Write as _;

/// The names of the documents that `--print` can print.
pub(super) const NAMES: &[&str] = &["man", "bash", "zsh", "fish"];

/// Returns the text of the document called `name`; `None` if `name` is not one of [`NAMES`].
pub(super) fn document(name: &str) -> Option<String> {
    Some(match name {
        "man" => man(),
        "bash" => bash(),
        "zsh" => zsh(),
        "fish" => fish(),
        _ => return None,
    })
}

/// Returns the options that have a help text. An option without one exists only to be refused.
fn shown() -> impl Iterator<Item = &'static Spec> {
    SPECS.iter().filter(|spec| !spec.help.is_empty())
}

/// Returns the words that an option accepts, if it accepts only fixed words; otherwise an empty list.
fn choices(spec: &Spec) -> &'static [&'static str] {
    match spec.long {
        "protocol" => &["auto", "ascii", "binary"],
        "io-engine" => &["auto", "uring", "epoll"],
        "print" => NAMES,
        _ => &[],
    }
}

/// Returns the names that `-o` takes, which are read from its help text.
fn extended() -> Vec<&'static str> {
    let [with_effect @ .., without_effect] = help::extended_texts();
    let lines = with_effect.into_iter().flat_map(str::lines);
    let mut names: Vec<_> = lines.filter_map(|line| line.strip_prefix("   - ")?.split(':').next()).collect();
    let list = without_effect.split_once("   - ").map_or("", |(_, list)| list);
    let list = list.split("ssl_*").next().unwrap_or_default();
    names.extend(list.split([',', ' ', '\n']).filter(|name| !name.is_empty()));
    names
}

/// The source of the man page, with placeholders for the parts that are made from the table of options.
const MAN: &str = include_str!("memcrsd.1.in");

/// Returns `text` in the syntax of man(7): no line is taken for a command, and dashes are shown as ASCII dashes, which can be
/// copied.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let guarded = text
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() });
    guarded.collect::<Vec<_>>().join("\n")
}

fn man() -> String {
    let mut options = String::new();
    let mut entry = |name: &str, help: &str| {
        let _ = writeln!(options, ".TP\n{name}\n{}", roff(help));
    };
    for spec in shown() {
        let long = roff(spec.long);
        let value =
            if spec.takes == Takes::Value { format!("=\\fI{}\\fR", spec.value) } else { String::new() };
        let short = spec.short.map(|letter| format!("\\fB\\-{letter}\\fR, ")).unwrap_or_default();
        entry(&format!("{short}\\fB\\-\\-{long}\\fR{value}"), &spec.help.join(" "));
        if spec.long == "verbose" {
            for (name, help) in help::MORE_VERBOSE.lines().filter_map(|line| line.split_once(' ')) {
                entry(&format!(".B {}", roff(name)), help.trim());
            }
        }
    }
    let extended = help::extended_texts().map(roff).join("\n");
    MAN.replace("@VERSION@", OWN_VERSION)
        .replace("@OPTIONS@", options.trim_end())
        .replace("@EXTENDED@", &extended)
}

/// Returns the spellings of an option, for example `-p` and `--port`.
fn spellings(spec: &Spec) -> impl Iterator<Item = String> {
    spec.short.map(|letter| format!("-{letter}")).into_iter().chain([format!("--{}", spec.long)])
}

fn bash() -> String {
    let all: Vec<_> = shown().flat_map(spellings).collect();
    let pattern = |which: &dyn Fn(&Spec) -> bool| {
        shown().filter(|spec| which(spec)).flat_map(spellings).collect::<Vec<_>>().join(" | ")
    };
    let mut cases = String::new();
    for spec in shown().filter(|spec| !choices(spec).is_empty()) {
        let words = choices(spec).join(" ");
        let names = spellings(spec).collect::<Vec<_>>().join(" | ");
        let _ =
            writeln!(cases, "        {names}) COMPREPLY=($(compgen -W '{words}' -- \"$cur\")); return ;;");
    }
    let files = pattern(&|spec| spec.value == "file");
    let users = pattern(&|spec| spec.value == "user");
    let others = pattern(&|spec| {
        spec.takes == Takes::Value
            && choices(spec).is_empty()
            && !["file", "user", "list"].contains(&spec.value)
    });
    format!(
        r#"# bash completion of memcrsd, printed by `memcrsd --print=bash`
_memcrsd() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    # --name=value is three words.
    if [ "$cur" = = ]; then cur=''; elif [ "$prev" = = ]; then prev=${{COMP_WORDS[COMP_CWORD - 2]}}; fi
    case $prev in
{cases}        {files}) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        {users}) COMPREPLY=($(compgen -u -- "$cur")); return ;;
        -o | --extended)
            local before=${{cur%"${{cur##*,}}"}}
            COMPREPLY=($(compgen -P "$before" -W '{extended}' -- "${{cur##*,}}"))
            return
            ;;
        {others}) return ;;
    esac
    COMPREPLY=($(compgen -W '{all}' -- "$cur"))
}}
complete -o filenames -o nosort -F _memcrsd memcrsd
"#,
        extended = extended().join(" "),
        all = all.join(" "),
    )
}

fn zsh() -> String {
    let mut script = "#compdef memcrsd\n# zsh completion of memcrsd, printed by `memcrsd --print=zsh`\n_arguments -s -S \\\n".to_owned();
    for spec in shown() {
        let help = spec.help.join(" ").replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
        let help = help.replace(':', "\\:").replace('\'', "'\\''");
        let action = match spec.value {
            "file" => "_files".to_owned(),
            "user" => "_users".to_owned(),
            "list" => format!("_values -s , option {}", extended().join(" ")),
            _ if !choices(spec).is_empty() => format!("({})", choices(spec).join(" ")),
            _ => " ".to_owned(),
        };
        let value =
            if spec.takes == Takes::Value { format!(":{}:{action}", spec.value) } else { String::new() };
        let (plus, equals) = if spec.takes == Takes::Value { ("+", "=") } else { ("", "") };
        if let Some(letter) = spec.short {
            let _ = writeln!(script, "    '*-{letter}{plus}[{help}]{value}' \\");
        }
        let _ = writeln!(script, "    '*--{}{equals}[{help}]{value}' \\", spec.long);
    }
    script.push_str("    && return\n");
    script
}

fn fish() -> String {
    let mut script =
        "# fish completion of memcrsd, printed by `memcrsd --print=fish`\ncomplete -c memcrsd -f\n"
            .to_owned();
    for spec in shown() {
        let short = spec.short.map(|letter| format!(" -s {letter}")).unwrap_or_default();
        let help = spec.help.join(" ").replace('\\', "\\\\").replace('\'', "\\'");
        let action = match (spec.takes, spec.value) {
            (Takes::Nothing | Takes::Ignored, _) => String::new(),
            (_, "file") => " -r -F".to_owned(),
            (_, "user") => " -x -a '(__fish_complete_users)'".to_owned(),
            (_, "list") => format!(" -x -a '(__fish_append , {})'", extended().join(" ")),
            _ if choices(spec).is_empty() => " -x".to_owned(),
            _ => format!(" -x -a '{}'", choices(spec).join(" ")),
        };
        let _ = writeln!(script, "complete -c memcrsd{short} -l {}{action} -d '{help}'", spec.long);
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_names_every_option() {
        for name in NAMES {
            let text = document(name).unwrap();
            for spec in shown() {
                let long = if *name == "man" { roff(spec.long) } else { spec.long.to_owned() };
                assert!(text.contains(&long), "{name}: {long}");
            }
            assert!(text.ends_with('\n') && !text.contains("napi"), "{name}");
        }
        assert_eq!(document("html"), None);
    }

    #[test]
    fn words_to_choose_from_are_the_ones_that_are_taken() {
        let environment = super::super::Environment {
            program: "memcrsd".to_owned(),
            cores: 1,
            large_pages: true,
            tls: true,
            sasl_pwdb: None,
            port_file: None,
        };
        for spec in shown().filter(|spec| spec.value == "name" || spec.value == "what") {
            assert!(!choices(spec).is_empty(), "{}", spec.long);
            for choice in choices(spec) {
                let line = [format!("--{}={choice}", spec.long)];
                assert!(super::super::parse(&line, &environment).is_ok(), "{line:?}");
            }
        }
        for name in extended() {
            let refusal = super::super::parse(&["-o".to_owned(), name.to_owned()], &environment).err();
            let unknown = |line: &String| line.starts_with("Illegal suboption");
            assert!(!refusal.is_some_and(|refusal| refusal.lines.iter().any(unknown)), "{name}");
        }
    }

    #[test]
    fn roff_takes_text_for_text() {
        assert_eq!(roff(".TH a\\b\n'c -d"), "\\&.TH a\\eb\n\\&'c \\-d");
    }
}
