//! What lies in `packaging`, as far as it can be checked without installing anything; `packaging/check` does the rest.

use crate::process::{Folder, leveret};
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn read(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `LEVERET_…=…` wherever it stands in a file.
fn variables(text: &str) -> Vec<(&str, &str)> {
    let words = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    let words = words.map(|word| word.trim_start_matches("Environment="));
    words.filter(|word| word.starts_with("LEVERET_")).filter_map(|word| word.split_once('=')).collect()
}

#[test]
fn the_variables_of_the_image_are_settings_and_the_unit_has_none() {
    // A variable would win over the file that administrators change.
    assert_eq!(variables(&read("systemd/leveret.service")), []);
    for file in ["docker/Dockerfile"] {
        let text = read(file);
        let variables = variables(&text);
        assert!(!variables.is_empty(), "{file}");
        let folder = Folder::new();
        let mut command = leveret(&folder);
        command.arg("--check-config").envs(variables.iter().copied()).stdout(Stdio::piped());
        let output = command.output().expect("leveret");
        let told = String::from_utf8(output.stdout).expect("text");
        let complaints = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), complaints.as_str()), (Some(0), ""), "{file}");
        for (name, value) in variables {
            let is_told = |line: &str| line.ends_with(&format!("# {name}")) && line.contains(value);
            assert!(told.lines().any(is_told), "{file}: {name} is not taken over: {told}");
        }
    }
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let folder = Folder::new();
    let unit = read("systemd/leveret.service").replace("/usr/bin/leveret", env!("CARGO_BIN_EXE_leveret"));
    let path = folder
        .write("leveret.service", &unit.replace("User=leveret", "User=root").replace("Group=leveret", "Group=root"));
    let output = match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path).output() {
        Err(error) => return eprintln!("SKIP: systemd-analyze: {error}"),
        Ok(output) => output,
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    let of_ours: Vec<_> = complaints.lines().filter(|line| line.contains("leveret.service")).collect();
    assert!(of_ours.is_empty(), "{of_ours:?}");
}
