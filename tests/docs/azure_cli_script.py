"""A script as users of Planetary Computer Pro have it: `AzureCliCredential()` and requests; only two URLs are ours.

The calls are those of the published quickstart, in its order and with its spellings (a second `?` in every href, the
`collection` parameter in the search, the status read from the `location` header's URL).
"""
# ruff: noqa: T201, ICN001

import datetime
import os
import sys
import time

import azure.identity
import requests

geocatalog_url, open_url = sys.argv[1], sys.argv[2]
collection_id = "mpc-quickstart"
api = {"api-version": "2025-04-30-preview"}

collection = requests.get(f"{open_url}/api/stac/v1/collections/io-lulc-annual-v02").json()
collection.pop("assets", None)
collection["id"] = collection_id

credential = azure.identity.AzureCliCredential()
token = credential.get_token("https://geocatalog.spatio.azure.com")
headers = {"Authorization": f"Bearer {token.token}"}

created = requests.post(f"{geocatalog_url}/stac/collections", json=collection, headers=headers, params=api)
assert created.status_code in {201, 202}, created.text

found = requests.get(f"{open_url}/api/stac/v1/search", params={"collections": "io-lulc-annual-v02"}).json()
print(len(found["features"]), "items")
sas = requests.get(f"{open_url}/api/sas/v1/token/io-lulc-annual-v02").json()["token"]
for item in found["features"]:
    item["collection"] = collection_id
    for asset in item["assets"].values():
        asset["href"] = f"{asset['href']}?{sas}"
items_url = f"{geocatalog_url}/stac/collections/{collection_id}/items"
posted = requests.post(items_url, headers=headers, params=api, json=found)
assert posted.status_code == 202, posted.text

location = posted.headers["location"]
while True:
    operation = requests.get(location, headers={"Authorization": f"Bearer {token.token}"}).json()
    print(datetime.datetime.now(datetime.UTC).isoformat(), operation["status"])
    if operation["status"] not in {"Pending", "Running"}:
        break
    time.sleep(0.5)
assert operation["status"] == "Succeeded", operation

listed = requests.get(items_url, headers=headers, params=api).json()
assert len(listed["features"]) == len(found["features"]) > 1
assert all(href.startswith(geocatalog_url) for item in listed["features"] for href in [item["assets"]["data"]["href"]])
search = {**api, "collection": collection_id}
assert len(requests.get(f"{geocatalog_url}/stac/search", headers=headers, params=search).json()["features"]) == len(
    found["features"]
)

gone = requests.delete(f"{items_url}/{listed['features'][0]['id']}", headers=headers, params=api)
assert gone.status_code == 202, gone.text
assert len(requests.get(items_url, headers=headers, params=api).json()["features"]) == len(found["features"]) - 1
dropped = requests.delete(f"{geocatalog_url}/stac/collections/{collection_id}", headers=headers, params=api)
assert dropped.status_code == 202, dropped.text
print("as published, with the az of", os.environ["PATH"].split(os.pathsep)[0])
