//! Hands the pinned version of lapin to the program, which prints it.

fn main() {
    println!("cargo:rerun-if-changed=Cargo.toml");
    let manifest = std::fs::read_to_string("Cargo.toml").expect("the manifest beside this file");
    let version = manifest
        .lines()
        .find(|line| line.starts_with("lapin "))
        .and_then(|line| line.split('"').nth(1))
        .expect("lapin's version comes first on its line");
    println!("cargo:rustc-env=LAPIN_VERSION={}", version.trim_start_matches('='));
}
