//! Full passes. The floors of the first one are the import of the same documents, since it parses and writes the same, and
//! transactions that write the same items on the same conditions. The floor of one that writes nothing is a plain read of
//! both sides, with nothing parsed or compared.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use futures_util::{StreamExt, TryStreamExt, stream};
use livechat_units::Tables;
use livechat_units::item::Item;
use testing::dynamodb::{endpoint, start_engine};
use testing::items::scan;
use unitctl::engine;
use unitctl::sync::mongodb::Kind;

use crate::measure::{Run, Servers, Usage};
use crate::workspace::{Workspace, tables_without_stream};

/// As many as a full pass sends at the same time.
const MAX_TRANSACTIONS_AT_ONCE: usize = 12;

pub async fn run(workspace: &Workspace) -> Result<()> {
    println!(
        "\n{:<42} {:>8} {:>12} {:>9} {:>8} {:>8} {:>9} {:>8}",
        "full passes, CPU s by process",
        "s",
        "documents/s",
        "peak MB",
        "unitctl",
        "DynamoDB",
        "MongoDB",
        "floor"
    );
    let import = workspace.import(&workspace.tables).await?;
    let print = |name: &str, run: &Run, floor: &Run| {
        let rate = workspace.documents as f64 / run.seconds;
        let Usage { cpu_seconds, peak_mb } = run.usage;
        let ratio = run.seconds / floor.seconds;
        println!(
            "{name:<42} {:>8.1} {rate:>12.0} {peak_mb:>9.1} {cpu_seconds:>8.1} {:>8.1} {:>9.1} {ratio:>7.2}x",
            run.seconds, run.servers.engine, run.servers.mongodb
        );
    };
    print("floor: the import of the same documents", &import, &import);
    // The embedded engine becomes slower with all that it keeps, so this pass gets an engine that is as empty as the import's was.
    let engine = start_engine()?;
    let client = Client::new(&engine::sdk_config(&engine));
    let empty = tables_without_stream(&client).await?;
    print("into empty tables", &once(workspace, &engine, &empty).await?, &import);
    let imported = once(workspace, endpoint(), &workspace.tables).await?;
    print("after an import: only bases are new", &imported, &import);
    let plain = read_both(workspace).await?;
    print("floor: a plain read of both sides", &plain, &plain);
    print("nothing to do", &once(workspace, endpoint(), &workspace.tables).await?, &plain);
    let ours = items(&client, &empty).await?;
    let expected = items(&workspace.client, &workspace.tables).await?;
    ensure!(ours == expected, "a pass into empty tables leaves other items than an import");
    println!("both ways lead to the same {} items", ours.len());
    let written = in_transactions(expected.into_values().collect()).await?;
    print("floor: these items in transactions", &written, &import);
    Ok(())
}

async fn once(workspace: &Workspace, endpoint: &str, tables: &Tables) -> Result<Run> {
    workspace.unitctl(endpoint, tables, &["sync", "--once"])?.end().await
}

/// Reads everything once, in this process.
async fn read_both(workspace: &Workspace) -> Result<Run> {
    let mongo = workspace.mongo.connect().await;
    let (start, servers) = (Instant::now(), Servers::now());
    for kind in [Kind::Users, Kind::Permissions, Kind::Departments, Kind::Units, Kind::UnitMonitors] {
        let mut batches = mongo.documents(kind);
        while batches.next().await?.is_some() {}
    }
    for table in [&workspace.tables.tokens, &workspace.tables.livechat] {
        let mut pages =
            workspace.client.scan().table_name(table).consistent_read(true).into_paginator().send();
        while pages.try_next().await?.is_some() {}
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Run { seconds, usage: Usage::default(), servers: Servers::now().since(servers) })
}

/// Writes items to an empty engine in transactions as large as DynamoDB allows, from this process and with nothing read. It is
/// the floor of a pass into empty tables. The items of a user are together, and have the conditions that the sync needs
/// of a new user: there is no list of tokens, and a token is not another user's and was not made by `unitctl`.
async fn in_transactions(mut items: Vec<Item>) -> Result<Run> {
    let client = Client::new(&engine::sdk_config(&start_engine()?));
    let tables = tables_without_stream(&client).await?;
    let put = |item: &Item| {
        let is_token = item.contains_key("hashedToken");
        let table = if is_token { &tables.tokens } else { &tables.livechat };
        let mut put = Put::builder().table_name(table).set_item(Some(item.clone()));
        if is_token {
            put = put
                .condition_expression(
                    "userId = :user AND attribute_not_exists(#source) OR attribute_not_exists(hashedToken)",
                )
                .expression_attribute_names("#source", "source")
                .expression_attribute_values(":user", AttributeValue::S(text(item, "userId").to_owned()));
        } else if text(item, "sk") == "TOKENS" {
            put = put.condition_expression("attribute_not_exists(pk)");
        }
        anyhow::Ok(TransactWriteItem::builder().put(put.build()?).build())
    };
    items.sort_by_cached_key(|item| match text(item, "userId") {
        "" => format!("{} {}", text(item, "pk"), text(item, "sk")),
        user => format!("USER#{user} USER"),
    });
    let (start, servers) = (Instant::now(), Servers::now());
    let writes: Vec<_> = items
        .chunks(100)
        .map(|items| async {
            let puts = items.iter().map(put).collect::<Result<Vec<_>>>()?;
            client.transact_write_items().set_transact_items(Some(puts)).send().await?;
            anyhow::Ok(())
        })
        .collect();
    stream::iter(writes).buffer_unordered(MAX_TRANSACTIONS_AT_ONCE).try_collect::<()>().await?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Run { seconds, usage: Usage::default(), servers: Servers::now().since(servers) })
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

/// Every item by its key, without the sync's own.
async fn items(client: &Client, tables: &Tables) -> Result<BTreeMap<String, Item>> {
    let mut all = BTreeMap::new();
    for table in [&tables.tokens, &tables.livechat] {
        all.extend(scan(client, table).await?.into_iter().filter_map(|mut item| {
            // They count writes, and say whether the function has changed the unit.
            item.retain(|name, _| name != "rev" && name != "version");
            for value in item.values_mut() {
                if let AttributeValue::Ss(members) = value {
                    // A set has no order.
                    members.sort_unstable();
                }
            }
            let key = format!("{} {} {}", text(&item, "hashedToken"), text(&item, "pk"), text(&item, "sk"));
            (!text(&item, "pk").starts_with("SYNC#")).then_some((key, item))
        }));
    }
    Ok(all)
}
