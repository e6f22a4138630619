//! Compiles the window's resources (style sheets, icons, the shortcuts window) into the binary.

fn main() {
    #[cfg(feature = "gui")]
    glib_build_tools::compile_resources(
        &["data/resources"],
        "data/resources/platter.gresource.xml",
        "platter.gresource",
    );
}
