//! Translated text. Only xgettext's default keywords are used (`gettext`, `ngettext`, `pgettext`),
//! with plain string literals, so that its C mode finds every message.

pub(crate) use gettextrs::{gettext, ngettext};

const DOMAIN: &str = "platter";

/// Where the translations are installed; the build passes its prefix.
const LOCALE_DIR: &str = match option_env!("LOCALEDIR") {
    Some(dir) => dir,
    None => "/usr/share/locale",
};

/// Tells gettext where this program's translations are. The locale itself is set by GTK when it
/// starts. Without translations the English text is shown.
pub(crate) fn bind_text_domain() {
    // A copy that runs from the build tree or from another prefix names its own folder.
    let dir = std::env::var_os("PLATTER_LOCALEDIR").unwrap_or_else(|| LOCALE_DIR.into());
    let bound = gettextrs::bindtextdomain(DOMAIN, std::path::PathBuf::from(dir))
        .and_then(|_| gettextrs::bind_textdomain_codeset(DOMAIN, "UTF-8"))
        .and_then(|_| gettextrs::textdomain(DOMAIN));
    if let Err(error) = bound {
        eprintln!("platter: no translations: {error}");
    }
}

/// Replaces `{name}` in a translated template by its value. A placeholder that the translator left
/// out or misspelt stays as it is: nothing panics over a translation.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len() + 16);
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, from_brace) = rest.split_at(start);
        text.push_str(before);
        let value = from_brace
            .find('}')
            .and_then(|end| Some((end, from_brace.get(1..end)?)))
            .and_then(|(end, name)| Some((end, values.iter().find(|(key, _)| *key == name)?.1)));
        let Some((end, value)) = value else {
            text.push('{');
            rest = &from_brace[1..];
            continue;
        };
        text.push_str(value);
        rest = &from_brace[end + 1..];
    }
    text.push_str(rest);
    text
}

/// [`ngettext`] for counts of any size, filled with `{n}` and `values`.
pub(crate) fn counted(one: &str, many: &str, n: u64, values: &[(&str, &str)]) -> String {
    // The plural rules of all languages look at the last digits only.
    let for_plural = u32::try_from(n).unwrap_or_else(|_| {
        let last_digits = u32::try_from(n % 1_000_000).unwrap_or_default();
        1_000_000 + last_digits
    });
    let number = crate::format::number(n);
    let mut all = vec![("n", number.as_str())];
    all.extend_from_slice(values);
    fill(&ngettext(one, many, for_plural), &all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_replaces_by_name_in_any_order() {
        let values = [("used", "3 GiB"), ("total", "{used}")];
        assert_eq!(
            fill("{total} holds {used}", &values),
            "{used} holds 3 GiB",
            "a value is not filled again"
        );
        assert_eq!(fill("no {such} {", &values), "no {such} {");
        assert_eq!(fill("größe {used}!", &values), "größe 3 GiB!");
    }

    #[test]
    fn counted_chooses_the_plural() {
        assert_eq!(counted("{n} image", "{n} images", 1, &[]), "1 image");
        assert_eq!(
            counted("{n} image", "{n} images", 1 << 40, &[]).replace('\u{202f}', ""),
            "1099511627776 images"
        );
    }
}
