//! Facts of the engine as sentences.

use platter::chain::LinkProblem;

use crate::output::for_terminal;

/// What is wrong with a link of a chain, and what can be done about it here.
pub(crate) fn of_problem(problem: &LinkProblem) -> String {
    let words = problem.to_string();
    let words = for_terminal(&words);
    match problem {
        LinkProblem::NotAllowed(_) => format!("{words} (--allow-outside follows it all the same)"),
        _ => words.into_owned(),
    }
}
