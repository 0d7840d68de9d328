// Meshlab is what the mesh tests need in Istio's own language: its charts, its xDS types.
//
// It is built with each pinned Istio, so that both are that version's.
package main

import (
	"fmt"
	"os"

	// Registers every type that istiod may send, istio.stats' among them, for decoding.
	_ "istio.io/api/envoy/extensions/stats"
	_ "istio.io/istio/pilot/pkg/networking/core"
	_ "istio.io/istio/pkg/config/xds"
)

const usage = `usage: meshlab COMMAND
  charts   render a chart of this Istio
  relay    stand between sidecars and istiod, and edit what passes
  clients  many sidecars, without their Envoys
  version  this Istio's
`

// Set at link time.
var istioVersion = "unknown"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	commands := map[string]func([]string) error{
		"charts":  charts,
		"relay":   relay,
		"clients": clients,
		"version": func([]string) error {
			fmt.Printf("version %s\n", istioVersion)
			return nil
		},
	}
	command, known := commands[os.Args[1]]
	if !known {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := command(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "meshlab %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
