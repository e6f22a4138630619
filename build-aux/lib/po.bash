# shellcheck shell=bash
# Brings the translations up to date with the sources: new messages come untranslated.

cmd_po() {
    install_packages build test
    local options language pot
    mapfile -t options <po/xgettext-options
    {
        ls data/*.desktop.in data/*.gschema.xml data/*.metainfo.xml.in data/*.mime.xml.in
        find data -name '*.ui'
        grep -rlE '\b(gettext|ngettext|pgettext|counted|gettext_noop)\(' src/gui --include='*.rs' || true
        # Sentences and names of phases that the engine leaves to be translated by the window.
        grep -rlE '\bgettext_noop\(|\.enter(_items)?\("' src --include='*.rs' |
            grep -vE '^src/(gui|phrase\.rs|control\.rs|job/)' || true
    } | LC_ALL=C sort -u >po/POTFILES.in
    pot=$(mktemp)
    # xgettext before 0.24 reads Rust as C, says so, and takes lifetimes for characters.
    xgettext "${options[@]}" --package-name=platter --files-from=po/POTFILES.in -o "$pot" 2>&1 |
        { grep -vE "extension 'rs' is unknown|unterminated character constant" || true; } >&2
    sed -i s/charset=CHARSET/charset=UTF-8/ "$pot"
    while read -r language; do
        msgmerge --quiet --update --backup=none --no-fuzzy-matching --no-wrap \
            "po/$language.po" "$pot"
        msgattrib --no-obsolete --no-wrap -o "po/$language.po" "po/$language.po"
        printf '%s: ' "$language" >&2
        msgfmt --check --statistics -o /dev/null "po/$language.po"
    done <po/LINGUAS
    rm "$pot"
}
