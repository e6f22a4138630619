//! A plan as rows: what happens, what is lost, what to know, and the same by hand.

use std::rc::Rc;

use platter::job::Outcome;
use platter::op::plan::{Findings, Plan, Shortage};
use platter::op::warning::Warning;
use platter::storage::HostSpace;
use relm4::adw::prelude::*;
use relm4::gtk::pango;
use relm4::{adw, gtk};

use crate::a11y;
use crate::describe;
use crate::facts::{Fact, Tone};
use crate::format;
use crate::i18n::{fill, gettext};
use crate::save_text;

/// The rows of `plan`, where the host has `space`. `copy` takes text for the clipboard.
pub(super) fn build(
    plan: &Plan,
    space: Option<HostSpace>,
    copy: impl Fn(String) + 'static,
) -> gtk::Box {
    let view = gtk::Box::new(gtk::Orientation::Vertical, 18);
    let notes = notes(plan, space);
    if !notes.is_empty() {
        let group = adw::PreferencesGroup::new();
        for note in &notes {
            group.add(&note_row(note));
        }
        view.append(&group);
    }
    if let Some(found) = &plan.found {
        view.append(&findings(found));
    }
    // One step says no more than the title and the button, unless it is known what it costs.
    let says_more = plan.steps.len() > 1 || plan.is_report || !plan.costs.is_empty();
    if says_more && !plan.steps.is_empty() {
        let title = if plan.is_report {
            gettext("What Was Found")
        } else {
            gettext("What Happens")
        };
        let group = adw::PreferencesGroup::builder().title(title).build();
        for (index, step) in plan.steps.iter().enumerate() {
            let cost = plan.costs.get(index).and_then(Option::as_ref);
            let cost = cost.map(describe::phrase);
            group.add(&step_row(
                index + 1,
                &describe::phrase(step),
                cost.as_deref(),
            ));
        }
        view.append(&group);
    }
    if !plan.by_hand.is_empty() {
        view.append(&by_hand(&plan.by_hand.join("\n"), copy));
    }
    let assurances = assurances(plan, space);
    if !assurances.is_empty() {
        view.append(
            &gtk::Label::builder()
                .label(assurances.join(" · "))
                .wrap(true)
                .xalign(0.0)
                .css_classes(["dim-label", "caption"])
                .build(),
        );
    }
    view
}

/// Whether it is certain to fail.
pub(super) fn is_impossible(plan: &Plan, space: Option<HostSpace>) -> bool {
    matches!(shortage(plan, space), Some(Shortage::FileTooLong { .. }))
}

fn shortage(plan: &Plan, space: Option<HostSpace>) -> Option<Shortage> {
    plan.space.as_ref()?.shortage(space?)
}

/// What the user must read, the worst first.
fn notes(plan: &Plan, space: Option<HostSpace>) -> Vec<Fact> {
    let note = |text: String, tone| Fact::new(text, String::new()).tone(tone);
    let lost = plan
        .destroys
        .iter()
        .map(|phrase| note(describe::phrase(phrase), Tone::Bad));
    let short =
        shortage(plan, space).map(|shortage| note(describe::phrase(&shortage.phrase()), Tone::Bad));
    let held = (!plan.holders.is_empty()).then(|| {
        let holders = plan.holders.join("; ");
        let text = fill(&gettext("In use by {holders}"), &[("holders", &holders)]);
        note(text, Tone::Bad)
    });
    let traps = plan
        .warnings
        .iter()
        .map(|warning: &Warning| note(describe::warning(warning), tone(warning)));
    let others = plan
        .notes
        .iter()
        .map(|phrase| note(describe::sentence(phrase), Tone::Warning));
    lost.chain(short)
        .chain(held)
        .chain(traps)
        .chain(others)
        .collect()
}

/// What breaks other images is as bad as what is lost.
fn tone(warning: &Warning) -> Tone {
    match warning {
        Warning::SharedBase { .. } => Tone::Bad,
        _ => Tone::Warning,
    }
}

/// What the user need not worry about.
fn assurances(plan: &Plan, space: Option<HostSpace>) -> Vec<String> {
    let mut said = Vec::new();
    if let (Some(needed), Some(space)) = (&plan.space, space)
        && needed.shortage(space).is_none()
    {
        let template = if needed.bytes > 0 {
            gettext("Needs up to {needed}, {free} are free")
        } else {
            gettext("{free} are free there")
        };
        said.push(fill(
            &template,
            &[
                ("needed", &format::size(needed.bytes)),
                ("free", &format::size(space.free)),
            ],
        ));
    }
    let changes_existing = plan.writes.iter().any(|path| path.exists());
    if plan.holders.is_empty() && changes_existing {
        said.push(gettext("Nobody else is using the image"));
    }
    if plan.can_be_undone {
        said.push(gettext("Can be undone until the image is next written"));
    }
    said
}

fn note_row(note: &Fact) -> adw::ActionRow {
    let row = adw::ActionRow::builder()
        .use_markup(false)
        .title(&note.title)
        .title_lines(0)
        .activatable(false)
        .css_classes(["note"])
        .build();
    let (icon, class, name) = match note.tone {
        Tone::Bad => ("dialog-error-symbolic", "error", gettext("Problem")),
        _ => ("dialog-warning-symbolic", "warning", gettext("Warning")),
    };
    let image = gtk::Image::from_icon_name(icon);
    image.add_css_class(class);
    a11y::name(&image, &name);
    row.add_prefix(&image);
    a11y::name(&row, &note.title);
    row
}

fn step_row(number: usize, text: &str, cost: Option<&str>) -> adw::ActionRow {
    let row = adw::ActionRow::builder()
        .use_markup(false)
        .title(text)
        .title_lines(0)
        .activatable(false)
        .build();
    let label = gtk::Label::builder()
        .label(number.to_string())
        .css_classes(["dim-label", "numeric"])
        .build();
    row.add_prefix(&label);
    a11y::name(&row, text);
    if let Some(cost) = cost {
        let label = gtk::Label::builder()
            .label(cost)
            .wrap(true)
            .xalign(1.0)
            .justify(gtk::Justification::Right)
            .width_chars(i32::try_from(cost.chars().count().min(24)).unwrap_or(24))
            .max_width_chars(30)
            .css_classes(["dim-label", "caption"])
            .build();
        row.add_suffix(&label);
        a11y::describe(&row, cost);
    }
    row
}

/// What was found and what it means, with a button that keeps all of it.
fn findings(found: &Findings) -> adw::PreferencesGroup {
    let group = adw::PreferencesGroup::builder()
        .title(gettext("What Was Found"))
        .build();
    let save = gtk::Button::builder()
        .label(gettext("_Save as Text…"))
        .use_underline(true)
        .valign(gtk::Align::Center)
        .css_classes(["flat"])
        .build();
    let text: Rc<str> = found.text.as_str().into();
    save.connect_clicked(move |save| {
        let title = gettext("Save Report");
        save_text::ask(save, &title, "findings.txt", Rc::clone(&text), drop);
    });
    group.set_header_suffix(Some(&save));
    for (line, meaning) in &found.lines {
        let title = describe::phrase(line);
        let row = adw::ActionRow::builder()
            .use_markup(false)
            .title(&title)
            .title_lines(0)
            .subtitle_lines(0)
            .activatable(false)
            .build();
        a11y::name(&row, &title);
        if let Some(meaning) = meaning {
            let meaning = describe::phrase(meaning);
            row.set_subtitle(&meaning);
            a11y::describe(&row, &meaning);
        }
        group.add(&row);
    }
    group
}

/// What a trial has found out: its sentence, and a row for each thing it looked at.
pub(super) fn tried(outcome: &Outcome) -> adw::PreferencesGroup {
    let group = adw::PreferencesGroup::builder()
        .title(gettext("It Works"))
        .build();
    if let Some(message) = &outcome.message {
        group.set_description(Some(&describe::phrase(message)));
    }
    for note in &outcome.notes {
        let row = adw::ActionRow::builder()
            .use_markup(false)
            .title(note)
            .title_lines(0)
            .activatable(false)
            .css_classes(["note"])
            .build();
        let image = gtk::Image::from_icon_name("object-select-symbolic");
        image.add_css_class("success");
        a11y::name(&image, &gettext("Good"));
        row.add_prefix(&image);
        a11y::name(&row, note);
        group.add(&row);
    }
    group
}

fn by_hand(commands: &str, copy: impl Fn(String) + 'static) -> gtk::Expander {
    let label = gtk::Label::builder()
        .label(commands)
        .wrap(true)
        .wrap_mode(pango::WrapMode::WordChar)
        .selectable(true)
        .xalign(0.0)
        .hexpand(true)
        .css_classes(["monospace", "caption"])
        .build();
    let button = gtk::Button::builder()
        .icon_name("edit-copy-symbolic")
        .valign(gtk::Align::Start)
        .css_classes(["flat"])
        .build();
    a11y::icon_button(&button, &gettext("Copy the commands"));
    let text = commands.to_owned();
    button.connect_clicked(move |_| copy(text.clone()));
    let content = gtk::Box::builder()
        .spacing(6)
        .css_classes(["card", "by-hand"])
        .build();
    content.append(&label);
    content.append(&button);
    let expander = gtk::Expander::builder()
        .label(gettext("The Same by Hand"))
        .child(&content)
        .build();
    a11y::name(&expander, &gettext("The Same by Hand"));
    expander
}

#[cfg(test)]
mod tests {
    use platter::op::plan::SpaceNeeded;
    use platter::phrase::Phrase;

    use super::*;

    fn plan() -> Plan {
        let mut plan = Plan::new(Phrase::new("Resize a.raw"), Phrase::new("Resize"));
        plan.space = Some(SpaceNeeded {
            at: "/vm".into(),
            bytes: 100,
            longest_file: 5 << 30,
        });
        plan.writes = vec!["/".into()];
        plan
    }

    #[test]
    fn what_is_lost_comes_first() {
        let mut plan = plan();
        plan.destroys = vec![Phrase::new("The data is lost.")];
        plan.warnings = vec![Warning::DependentsUnknown { base: "/b".into() }];
        plan.holders = vec!["qemu, pid 1".to_owned()];
        let notes = notes(&plan, None);
        assert_eq!(notes.len(), 3);
        assert_eq!(notes[0].title, "The data is lost.");
        assert_eq!(notes[2].tone, Tone::Warning);
        assert_eq!(assurances(&plan, None).len(), 0);
    }

    #[test]
    fn what_breaks_others_is_bad_and_not_the_default() {
        let mut plan = plan();
        plan.warnings = vec![Warning::SharedBase {
            base: "/b".into(),
            dependents: vec!["/o".into()],
        }];
        assert!(plan.is_destructive());
        assert_eq!(notes(&plan, None)[0].tone, Tone::Bad);
    }

    #[test]
    fn a_file_too_long_for_fat_is_refused_and_a_full_disk_is_said() {
        let space = |free, longest_file| Some(HostSpace { free, longest_file });
        assert!(is_impossible(&plan(), space(1 << 40, Some(4 << 30))));
        assert!(!is_impossible(&plan(), space(10, None)));
        assert_eq!(notes(&plan(), space(10, None)).len(), 1);
        assert_eq!(assurances(&plan(), space(1 << 40, None)).len(), 2);
        assert!(notes(&plan(), space(1 << 40, None)).is_empty());
    }
}
