// Flowlab answers which connections NetworkPolicies allow, by the code of Cyclonus, the conformance
// tester of network plugins. Nothing runs: it reads the policies as an API server holds them.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Set at link time.
var cyclonusVersion = "unknown"

// A peer without a namespace is a machine outside the pod network.
type peer struct {
	Name            string            `json:"name"`
	Address         string            `json:"address"`
	Namespace       string            `json:"namespace"`
	NamespaceLabels map[string]string `json:"namespaceLabels"`
	Labels          map[string]string `json:"labels"`
}

type port struct {
	Number   int             `json:"number"`
	Protocol corev1.Protocol `json:"protocol"`
}

type input struct {
	Peers []peer `json:"peers"`
	Ports []port `json:"ports"`
	// Each is the policies of one cluster.
	Clusters [][]*networkingv1.NetworkPolicy `json:"clusters"`
}

type connection struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Port        string `json:"port"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Printf("version %s\n", cyclonusVersion)
		return
	}
	if len(os.Args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: flowlab [version]: JSON in on standard input, JSON out")
		os.Exit(2)
	}
	if err := answer(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "flowlab: %v\n", err)
		os.Exit(1)
	}
}

func answer(from io.Reader, to io.Writer) error {
	var in input
	decoder := json.NewDecoder(from)
	// A misspelt field of a policy would be no rule at all.
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return err
	}
	out := make([][]connection, len(in.Clusters))
	for number, policies := range in.Clusters {
		out[number] = allowed(in, matcher.BuildNetworkPolicies(false, policies))
	}
	return json.NewEncoder(to).Encode(out)
}

func allowed(in input, policy *matcher.Policy) []connection {
	found := []connection{}
	for _, source := range in.Peers {
		for _, destination := range in.Peers {
			for _, port := range in.Ports {
				traffic := &matcher.Traffic{
					Source:       source.end(),
					Destination:  destination.end(),
					ResolvedPort: port.Number,
					Protocol:     port.Protocol,
				}
				if policy.IsTrafficAllowed(traffic).IsAllowed() {
					name := fmt.Sprintf("%d/%s", port.Number, port.Protocol)
					found = append(found, connection{source.Name, destination.Name, name})
				}
			}
		}
	}
	return found
}

func (p peer) end() *matcher.TrafficPeer {
	end := &matcher.TrafficPeer{IP: p.Address}
	if p.Namespace != "" {
		end.Internal = &matcher.InternalPeer{
			Namespace:       p.Namespace,
			NamespaceLabels: p.NamespaceLabels,
			PodLabels:       p.Labels,
		}
	}
	return end
}
