//! The command line as getopt reads it, where clap reads it otherwise.

use std::collections::HashMap;
use std::ffi::OsString;

/// The verb's command line, with values read as getopt reads them: what follows an option that takes a value is its
/// value, whatever it begins with.
pub fn like_getopt(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let takes_value = !arg.is_positional() && arg.get_action().takes_values();
        arg.allow_hyphen_values(takes_value)
    })
}

/// Takes values apart from short options where they begin with `=`: of `-Z=3` the value is `=3`, and clap would take
/// it for `3`. `args` are those of `snapback dump`, of which `program` is the command line.
pub fn values_apart(program: &clap::Command, args: Vec<OsString>) -> Vec<OsString> {
    let dump = program.find_subcommand("dump");
    let options = || dump.into_iter().flat_map(clap::Command::get_arguments);
    let takes_value: HashMap<char, bool> = options()
        .filter_map(|arg| Some((arg.get_short()?, arg.get_action().takes_values())))
        .collect();
    let long_takes_value = |name: &str| {
        let mut named = options().filter(|arg| arg.get_long().is_some_and(|long| long.starts_with(name)));
        named.next().is_some_and(|arg| arg.get_action().takes_values())
    };
    let (mut apart, mut is_value, mut ended) = (Vec::new(), false, false);
    for (at, arg) in args.into_iter().enumerate() {
        let text = arg.to_string_lossy().into_owned();
        if at < 2 || std::mem::take(&mut is_value) || ended || !text.starts_with('-') {
            apart.push(arg);
            continue;
        }
        ended = text == "--";
        if let Some(name) = text.strip_prefix("--") {
            is_value = !ended && !name.contains('=') && long_takes_value(name);
            apart.push(arg);
            continue;
        }
        let valued = text
            .char_indices()
            .skip(1)
            .find(|(_, c)| takes_value.get(c) != Some(&false));
        match valued.map(|(at, c)| text.split_at(at + c.len_utf8())) {
            Some((option, value)) if value.starts_with('=') => apart.extend([option, value].map(OsString::from)),
            rest => {
                is_value = rest.is_some_and(|(_, value)| value.is_empty());
                apart.push(arg);
            }
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction, Command};

    #[test]
    fn an_equals_sign_behind_a_short_option_is_of_its_value() {
        let flag = Arg::new("v").short('v').action(ArgAction::SetTrue);
        let file = Arg::new("file").short('f').long("file");
        let level = Arg::new("Z").short('Z');
        let program = Command::new("p").subcommand(Command::new("dump").args([flag, file, level]));
        for (given, apart) in [
            ("-Z=3", "-Z =3"),
            ("-vZ=3 x", "-vZ =3 x"),
            ("-Z3 -f -Z=3", "-Z3 -f -Z=3"),
            ("--file -Z=3 -Z=3", "--file -Z=3 -Z =3"),
            ("--file=x -Z=3", "--file=x -Z =3"),
            ("-fZ=3 -v=3 -- -Z=3", "-fZ=3 -v=3 -- -Z=3"),
        ] {
            let args = |text: &str| {
                format!("p dump {text}")
                    .split(' ')
                    .map(OsString::from)
                    .collect::<Vec<_>>()
            };
            assert_eq!(values_apart(&program, args(given)), args(apart));
        }
    }
}
