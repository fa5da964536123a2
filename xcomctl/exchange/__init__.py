"""File formats that hold XComs with their values: written by export, read by import."""
