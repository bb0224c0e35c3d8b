//! Commands that speak to the running program over its admin socket.

use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, bail};
use pulseward_app::admin;

use crate::{
    cli, home,
    requests::{Answer, ConsentRequest, PersonLine, RegisteredLine, Request, StaffFile, Status},
};

/// How many persons one request carries.
const AT_ONCE: u32 = 1000;
/// How many lines a file of persons may have: what the store can hold is checked there.
const MOST_LINES: usize = 5_000_000;

/// Registers persons and prints a line for each.
pub(crate) async fn register(directory: &Path, args: &cli::Register) -> anyhow::Result<()> {
    let (tickets, project, scope) = (args.tickets, args.project, args.scope);
    if let Some(mut left) = args.synthetic {
        while left > 0 {
            let count = left.min(AT_ONCE);
            let request = Request::RegisterSynthetic {
                count,
                tickets,
                project,
                scope,
            };
            print_registered(ask(directory, &request).await?)?;
            left -= count;
        }
    }
    if let Some(path) = &args.from {
        let mut lines = open(path)?.lines().take(MOST_LINES);
        loop {
            let persons = lines
                .by_ref()
                .take(AT_ONCE as usize)
                .map(|line| serde_json::from_str(&line?).context("a line that is not a person"))
                .collect::<anyhow::Result<Vec<PersonLine>>>()?;
            if persons.is_empty() {
                break;
            }
            let request = Request::Register {
                persons,
                tickets,
                project,
                scope,
            };
            print_registered(ask(directory, &request).await?)?;
        }
    }
    Ok(())
}

/// Writes down a consent.
pub(crate) async fn consent(directory: &Path, args: &cli::Consent) -> anyhow::Result<()> {
    let request = Request::Consent(ConsentRequest {
        person: args.person,
        project: args.project,
        version: args.version,
        scope: args.scope,
        care: args.care,
        training: args.training,
        research: args.research,
    });
    ask(directory, &request).await.map(|_done| ())
}

/// Issues a ticket and prints its slip.
pub(crate) async fn ticket(directory: &Path, args: &cli::Ticket) -> anyhow::Result<()> {
    let request = Request::Ticket {
        person: args.person,
        project: args.project,
        scope: args.scope,
    };
    match ask(directory, &request).await? {
        Answer::Ticket { slip } => print(&slip),
        _ => bail!("an answer of another version"),
    }
}

/// Adds or removes a staff member.
pub(crate) async fn staff(directory: &Path, args: &cli::Staff) -> anyhow::Result<()> {
    match args {
        cli::Staff::Add { name, role, out } => {
            let request = Request::AddStaff {
                name: name.clone(),
                role: role.clone(),
            };
            let Answer::Staff(staff) = ask(directory, &request).await? else {
                bail!("an answer of another version");
            };
            match out {
                Some(path) => write_staff_file(path, &staff, true),
                None => print(&serde_json::to_string_pretty(&staff)?),
            }
        }
        cli::Staff::Remove { id } => {
            let request = Request::RemoveStaff { id: *id };
            ask(directory, &request).await.map(|_done| ())
        }
    }
}

/// Prints how things stand; returns whether all is well.
pub(crate) async fn status(directory: &Path, json: bool) -> anyhow::Result<bool> {
    let Answer::Status(status) = ask(directory, &Request::Status).await? else {
        bail!("an answer of another version");
    };
    if json {
        print(&serde_json::to_string(&status)?)?;
    } else {
        print(&screen(&status))?;
    }
    Ok(status.problems.is_empty())
}

/// Writes a staff file that only its owner can read.
pub(crate) fn write_staff_file(path: &Path, staff: &StaffFile, new: bool) -> anyhow::Result<()> {
    let failed = || format!("couldn't write {}", path.display());
    if new {
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .with_context(failed)?;
        return Ok(serde_json::to_writer_pretty(file, staff)?);
    }
    let beside = path.with_extension("new");
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .with_context(failed)?;
    serde_json::to_writer_pretty(file, staff)?;
    std::fs::rename(&beside, path).with_context(failed)
}

/// Prints a line on standard output.
pub(crate) fn print(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("couldn't print")
}

async fn ask(directory: &Path, request: &Request) -> anyhow::Result<Answer> {
    admin::ask(&home::socket(directory), request).await
}

fn open(path: &Path) -> anyhow::Result<Box<dyn io::BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file =
        std::fs::File::open(path).with_context(|| format!("couldn't open {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn print_registered(answer: Answer) -> anyhow::Result<()> {
    let Answer::Registered { persons } = answer else {
        bail!("an answer of another version");
    };
    for RegisteredLine { person, ticket } in persons {
        print(&ticket.unwrap_or(person))?;
    }
    Ok(())
}

fn screen(status: &Status) -> String {
    let pipeline = status.pipeline_root.as_deref().unwrap_or("none");
    let mut screen = format!(
        "root      {}\npipeline  {pipeline}\ngRPC      {}\nadmin     {}\n\
         persons   {}\nstaff     {}\naudit     {} acts, head {}",
        status.root,
        status.grpc,
        status.admin,
        status.persons,
        status.staff,
        status.audited,
        status.audit_head,
    );
    if status.problems.is_empty() {
        screen.push_str("\nall is well");
    }
    for problem in &status.problems {
        screen.push_str(&format!("\nWRONG     {}: {}", problem.name, problem.detail));
    }
    screen
}
