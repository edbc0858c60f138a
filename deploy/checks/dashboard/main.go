// Checks dashboards strictly against Grafana's own types: an unknown key, a wrong type, a missing field or a value that
// is out of range is an error.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func check(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var strict dashboard.Dashboard
	if err := found(strict.UnmarshalJSONStrict(raw)); err != nil {
		return err
	}
	// The strict reader leaves out the panels (see `found`), so what is validated comes from the other reader.
	var read dashboard.Dashboard
	if err := json.Unmarshal(raw, &read); err != nil {
		return err
	}
	if len(read.Panels) == 0 {
		return errors.New("no panels were read")
	}
	return found(read.Validate())
}

// found returns nil for an empty list of errors. The SDK's UnmarshalJSONStrict always returns its `cog.BuildErrors`, and
// a nil list in an `error` is not nil. The SDK itself takes it for a failure too: a panel without errors is not kept.
func found(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}

func main() {
	plugins.RegisterDefaultPlugins()
	failed := false
	for _, path := range os.Args[1:] {
		if err := check(path); err != nil {
			fmt.Printf("%s: %v\n", path, err)
			failed = true
		} else {
			fmt.Printf("%s: valid\n", path)
		}
	}
	if failed || len(os.Args) == 1 {
		os.Exit(1)
	}
}
