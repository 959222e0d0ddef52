//! What other programs write between the transactions of a large update.

use super::*;

/// A write by another program, which happens before the transaction with this number. Copies of a transaction have the same
/// number.
fn before_transaction(number: usize, write: OtherWrite) -> FaultyClient {
    let (transactions, write) = (Numbers::default(), once(write));
    FaultyClient::new(move |sent: &SentRequest| {
        // All copies wait for the write, because it may take longer than one copy is waited for.
        (sent.is_write && transactions.number(sent) == number).then(|| Fault::After(write.clone()))
    })
}

/// Sends an update through faults.
///
/// # Errors
/// A reply of DynamoDB was late.
async fn send_in_time(app: &TestApp, faulty: &FaultyClient, asked: &Asked) -> Result<Response, String> {
    let started = Instant::now();
    let response = send_through(app, faulty, asked).await;
    if is_late(&response, started) { Err("a reply was late".into()) } else { Ok(response) }
}

/// Runs a test with new tables, again if it was late.
async fn with_app_in_time(test: impl AsyncFn(&TestApp) -> Result<(), String>) {
    in_time(async |_| {
        let mut result = Ok(());
        with_app(async |app| result = test(app).await).await;
        result
    })
    .await;
}

#[tokio::test]
async fn a_department_that_is_deleted_meanwhile_is_busy_and_then_not_found() {
    with_app_in_time(async |app| {
        let joining = ids("d", 250);
        app.put_departments(&as_strs(&joining)).await;
        app.put_unit("U", &[], &[]).await;
        let (client, tables) = (app.client.clone(), app.tables.clone());
        let delete: OtherWrite = Arc::new(move || {
            let key = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
            let request = client.delete_item().table_name(&tables.livechat);
            let request = request.key("pk", key("DEPARTMENT#d00249")).key("sk", key("DEPARTMENT"));
            async move { drop(request.send().await.expect("the department is deleted")) }.boxed()
        });
        let asked = Asked::new("U", &[], &joining);
        let response = send_in_time(app, &before_transaction(1, delete), &asked).await?;
        assert_refused(&response, 503, BUSY);
        let committed = departments(&app.stored_items().await).len();
        assert_eq!(committed, 198);
        let again = app.send(&asked.event()).await;
        assert_eq!(again.status_code, 400);
        assert!(again.body.contains("Department not found: d00249 "), "{}", again.body);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_department_that_dynamodb_finds_too_large_is_busy_and_then_refused() {
    with_app_in_time(async |app| {
        let joining = ids("d", 250);
        app.put_departments(&as_strs(&joining)).await;
        app.put_unit("U", &[], &[]).await;
        // Only DynamoDB knows how large the department is. Its other attributes have 70 bytes, and the unit adds 23.
        let change = json!({
            "name": "x".repeat(409_600 - 80), "email": null, "businessHours": null, "enabled": null,
        });
        app.change_item("DEPARTMENT#d00200", "DEPARTMENT", change).await;
        let asked = Asked::new("U", &[], &joining);
        let response = send_in_time(app, &FaultyClient::new(|_| None), &asked).await?;
        assert_refused(&response, 503, BUSY);
        let again = app.send(&asked.event()).await;
        let expected = r#"{"success":false,"error":"The department d00200 would be larger than one item can be, 409600 bytes [error-department-too-large]","errorType":"error-department-too-large"}"#;
        assert_refused(&again, 400, expected);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_update_that_is_undone_by_another_one_is_busy_and_any_other_change_is_not() {
    with_app_in_time(async |app| {
        let asked = put_everything(app, 30).await;
        // Another execution environment changes nothing that the first transactions have committed.
        let other = Arc::new(app.another_function());
        let send = |asked: &Asked| -> OtherWrite {
            let (other, event) = (other.clone(), asked.event());
            Arc::new(move || {
                let (other, event) = (other.clone(), event.clone());
                async move { assert_eq!(invoke(&other, &event, None).await.status_code, 200) }.boxed()
            })
        };
        let same = Asked { name: "other name".into(), ..asked.clone() };
        let response = send_in_time(app, &before_transaction(2, send(&same)), &asked).await?;
        assert_eq!(response.status_code, 200, "{}", response.body);
        assert!(asked.is_fulfilled(&app.stored_items().await));

        let asked = Asked::new("U", &[], &[]);
        let members = put_everything(app, 30).await;
        let response = send_in_time(app, &before_transaction(1, send(&members)), &asked).await?;
        assert_refused(&response, 503, BUSY);
        assert!(members.is_fulfilled(&app.stored_items().await), "the other update is undone");
        // Repeating it alone ends with 200.
        assert_eq!(app.send(&asked.event()).await.status_code, 200);
        Ok(())
    })
    .await;
}
