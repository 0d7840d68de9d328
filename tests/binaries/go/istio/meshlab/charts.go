package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"istio.io/istio/operator/pkg/helm"
	"istio.io/istio/operator/pkg/values"
)

// charts prints the objects that Helm would make of a chart, one JSON text a line.
func charts(arguments []string) error {
	flags := flag.NewFlagSet("charts", flag.ExitOnError)
	release := flags.String("release", "", "name of the release")
	namespace := flags.String("namespace", "", "its namespace")
	folder := flags.String("folder", "", "the chart's, below Istio's manifests/charts")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	given := map[string]any{}
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return fmt.Errorf("the values on standard input are no JSON: %w", err)
	}
	all := values.Map{"spec": map[string]any{"values": given}}
	rendered, warnings, err := helm.Render(*release, *namespace, *folder, all, nil)
	if err != nil {
		return err
	}
	if warnings.ToError() != nil {
		fmt.Fprintln(os.Stderr, warnings.ToError())
	}
	for _, one := range rendered {
		text, err := json.Marshal(one.Object)
		if err != nil {
			return err
		}
		fmt.Println(string(text))
	}
	return nil
}
