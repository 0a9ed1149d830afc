use super::*;
use crate::Model;

fn read(text: &str) -> Result<Scenario, String> {
    Scenario::parse(text, "x.toml", Path::new("")).map_err(|errors| errors.to_string())
}

#[test]
fn the_house_is_a_scenario() {
    let plan = read(super::super::HOUSE).unwrap().plan("r", 1).unwrap();
    assert_eq!(plan.devices.len(), 5);
}

#[test]
fn everything_can_be_said() {
    let scenario = read(
        r#"
        seed = 7
        start = 2026-06-01T12:00:00Z
        speed = "max"
        duration = "10m"
        messages = 1000
        connections = 4

        [broker]
        url = "mqtts://broker.example"
        username = "ann"
        password = "secret"
        version = "3.1.1"
        ca = "ca.pem"
        cert = "c.pem"
        key = "k.pem"
        insecure = true

        [[device]]
        count = 3
        client_id = "meter-{n:03}"
        lists = { room = ["kitchen", "hall"] }
        status = { topic = "s/{client_id}", online = "1", offline = "0", qos = 2 }

        [[device.message]]
        topic = "m/{room}/{n}"
        every = "2s"
        jitter = "10%"
        qos = 1
        retain = true
        on_change = true
        [device.message.fields]
        zulu = "walk:1..2"
        alpha = 5
        time = { model = "time", format = "unix" }
        "#,
    )
    .unwrap();
    let names = ["zulu", "alpha", "time"];
    let message = &scenario.groups[0].messages[0];
    let Content::Json(fields) = &message.content else { panic!("{:?}", message.content) };
    assert_eq!(
        fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        names,
        "in the file's order"
    );
    assert_eq!(fields[2].1.model, Model::Time(crate::TimeFormat::Unix));
    assert_eq!((message.every.as_secs(), message.jitter.as_millis()), (2, 200));
    assert!(message.retain && message.on_change);
    assert_eq!((scenario.seed, scenario.messages, scenario.connections), (Some(7), Some(1000), Some(4)));
    assert_eq!(scenario.broker.version, Version::V311);
    let plan = scenario.plan("r", 1).unwrap();
    let topics: Vec<&str> = plan.devices.iter().map(|device| &*device.topics[0].0).collect();
    assert_eq!(topics, ["m/kitchen/1", "m/hall/2", "m/kitchen/3"]);
    assert_eq!(&*plan.devices[1].client_id, "meter-002");
    assert_eq!(plan.devices[1].status.as_ref().map(|status| &*status.topic), Some("s/meter-002"));
}

#[test]
fn tables_and_words_say_the_same() {
    let cases = [
        ("\"20..30\"", "{ model = \"range\", min = 20, max = 30 }"),
        ("\"walk:20..30:0.5\"", "{ model = \"walk\", min = 20.0, max = 30, step = 0.5 }"),
        ("\"daily:20..30:0.5\"", "{ model = \"daily\", min = 20, max = 30, noise = 0.5, peak = \"15h\" }"),
        ("\"constant:on\"", "{ model = \"constant\", value = \"on\" }"),
        ("21.5", "{ model = \"constant\", value = 21.5 }"),
        ("true", "{ model = \"constant\", value = true }"),
        ("\"states:a,b:0.5\"", "{ model = \"states\", states = [\"a\", \"b\"], probability = 0.5 }"),
        ("\"event:a:0.5\"", "{ model = \"event\", value = \"a\", probability = 0.5 }"),
        ("\"count:1:2\"", "{ model = \"count\", from = 1, step = 2 }"),
        ("\"time\"", "{ model = \"time\" }"),
    ];
    for (short, long) in cases {
        let content = |value: &str| {
            let text = format!("[[device]]\n[[device.message]]\ntopic = 't'\nvalue = {value}");
            read(&text).unwrap().groups[0].messages[0].content.clone()
        };
        assert_eq!(content(short), content(long), "{short}");
    }
}

#[test]
fn faults_are_told_with_line_key_and_the_nearest_key() {
    let device = |lines: &str| format!("[[device]]\n[[device.message]]\ntopic = 't'\n{lines}");
    let cases = [
        ("sed = 1".to_owned(), "x.toml:1: key `sed`: unknown key; did you mean `seed`?"),
        (
            device("value = 1\nevry = '3s'"),
            "x.toml:5: key `device.message.evry`: unknown key; did you mean `every`?",
        ),
        (device("value = '30..20'"), "x.toml:4: key `device.message.value`: 30..20 goes down; write 20..30"),
        (
            device("value = 'rnage:1..2'"),
            "x.toml:4: key `device.message.value`: there is no model `rnage`. Did you mean",
        ),
        (
            device("value = { model = 'walk', min = 1, max = 2, stp = 1 }"),
            "x.toml:4: key `device.message.value.stp`: unknown key; did you mean `step`?",
        ),
        (
            device("value = { min = 1 }"),
            "x.toml:4: key `device.message.value.model`: is needed: one of range, walk",
        ),
        (
            device("value = { model = 'range', min = 1 }"),
            "x.toml:4: key `device.message.value.max`: is needed",
        ),
        (
            device("value = { model = 'range', min = 2, max = 1 }"),
            "x.toml:4: key `device.message.value.min`: 2 is more than max",
        ),
        (device("fields.a = 'x'"), "x.toml:4: key `device.message.fields.a`: there is no model `x`"),
        (device("value = 1\nfields.a = 1"), "x.toml:2: key `device.message.fields`: stands beside `value`"),
        (device(""), "x.toml:2: key `device.message.value`: is needed"),
        (
            device("value = 1\nqos = 3"),
            "x.toml:5: key `device.message.qos`: `3` is not accepted; accepted is a whole",
        ),
        (
            device("value = 1\njitter = '80%'"),
            "x.toml:5: key `device.message.jitter`: `\"80%\"` is not accepted",
        ),
        (device("value = 1\nevery = 3"), "x.toml:5: key `device.message.every`: `3` is not accepted"),
        ("speed = 0".to_owned(), "x.toml:1: key `speed`: `0` is not accepted"),
        ("start = 'noon'".to_owned(), "x.toml:1: key `start`: `\"noon\"` is not accepted"),
        ("[[device]]\nlists.a = 'b'".to_owned(), "x.toml:2: key `device.lists`: a table is not accepted"),
        ("[[device]]\nstatus = { qos = 1 }".to_owned(), "x.toml:2: key `device.status.topic`: is needed"),
        ("[[device]]\noutage = { away = '1s' }".to_owned(), "x.toml:2: key `device.outage.every`: is needed"),
        (
            device("replay = { file = '/nowhere.csv' }"),
            "x.toml:4: key `device.message.replay.file`: /nowhere.csv: cannot",
        ),
        ("[[device]\n".to_owned(), "x.toml:1: "),
    ];
    for (text, expected) in cases {
        let errors = read(&text).unwrap_err();
        assert!(errors.starts_with(expected), "{text}\n{errors}");
    }
    let missing = Scenario::load(Path::new("/nowhere.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere.toml: cannot be read: "), "{missing}");
}

#[test]
fn what_does_not_fit_together_is_told() {
    let message = "[[device.message]]\ntopic = 't/{n}'\nvalue = 1\n";
    let cases = [
        (String::new(), "configuration: key `device`: there is no device"),
        ("[[device]]".to_owned(), "x.toml:1: key `message`: the device sends nothing"),
        (
            format!("connections = 1\n[[device]]\noutage.every = '1m'\n{message}"),
            "x.toml:2: key `outage`: devices that share connections",
        ),
        (
            "[[device]]\n[[device.message]]\ntopic = '{rom}'\nvalue = 1".to_owned(),
            "x.toml:2: key `topic`: nothing is called {rom}; there are {n}, {run}, {client_id}",
        ),
        (
            format!("[[device]]\nclient_id = '{{client_id}}'\n{message}"),
            "x.toml:1: key `client_id`: nothing is called {client_id}; there are {n}, {run}",
        ),
        (
            format!("[[device]]\ncount = 2\nclient_id = 'one'\n{message}"),
            "x.toml:1: key `client_id`: two devices are called `one`",
        ),
        (
            "[[device]]\n[[device.message]]\ntopic = 'a/#'\nvalue = 1".to_owned(),
            "x.toml:1: key `topic`: `a/#` is no topic to publish to",
        ),
        (
            "[[device]]\n[[device.message]]\ntopic = 'a'\nvalue = 'column:b'".to_owned(),
            "x.toml:2: key `value`: the column `b` is of no file",
        ),
        (
            "[[device]]\n[[device.message]]\ntopic = 'a'\nvalue = 1\njitter = '600ms'".to_owned(),
            "x.toml:2: key `jitter`: the jitter is more than half",
        ),
        (
            format!("[[device]]\nlists.n = ['a']\n{message}"),
            "x.toml:1: key `lists`: {n} has a meaning already",
        ),
        (format!("[[device]]\nlists.a = []\n{message}"), "x.toml:1: key `count`: accepted are 1 to"),
    ];
    for (text, expected) in cases {
        let errors = read(&text).unwrap().plan("r", 1).unwrap_err().to_string();
        assert!(errors.starts_with(expected), "{text}\n{errors}");
    }
}
