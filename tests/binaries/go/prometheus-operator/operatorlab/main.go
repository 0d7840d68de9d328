// Operatorlab answers what prometheus-operator would do with objects, by the operator's own code:
// which it selects, what it refuses, and the configuration that its Prometheus gets.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus-operator/prometheus-operator/pkg/assets"
	"github.com/prometheus-operator/prometheus-operator/pkg/operator"
	operatorprometheus "github.com/prometheus-operator/prometheus-operator/pkg/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

// Set at link time.
var operatorVersion = "unknown"

// The monitors and Secrets are looked for in the Prometheus' own namespace.
type input struct {
	Prometheus      monitoringv1.Prometheus        `json:"prometheus"`
	PodMonitors     []*monitoringv1.PodMonitor     `json:"podMonitors"`
	ServiceMonitors []*monitoringv1.ServiceMonitor `json:"serviceMonitors"`
	PrometheusRules []*monitoringv1.PrometheusRule `json:"prometheusRules"`
	Secrets         []*corev1.Secret               `json:"secrets"`
}

type output struct {
	Configuration string   `json:"configuration"`
	Selected      []string `json:"selected"`
	Refused       []string `json:"refused"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Printf("version %s\n", operatorVersion)
		return
	}
	if len(os.Args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: operatorlab [version]: objects in on standard input, JSON out")
		os.Exit(2)
	}
	if err := answer(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "operatorlab: %v\n", err)
		os.Exit(1)
	}
}

func answer(from io.Reader, to io.Writer) error {
	var in input
	decoder := json.NewDecoder(from)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return err
	}
	ctx := context.Background()

	store := assets.NewStoreBuilder(nil, secrets(in.Secrets))
	events := record.NewFakeRecorder(1000)
	selector, err := operatorprometheus.NewResourceSelector(
		slog.New(slog.DiscardHandler), &in.Prometheus, store, nil,
		operator.NewMetrics(prometheus.NewRegistry()), events,
	)
	if err != nil {
		return err
	}
	pods, err := selector.SelectPodMonitors(ctx, listed(in.PodMonitors))
	if err != nil {
		return err
	}
	services, err := selector.SelectServiceMonitors(ctx, listed(in.ServiceMonitors))
	if err != nil {
		return err
	}
	close(events.Events)
	out := output{Selected: []string{}, Refused: []string{}}
	for event := range events.Events {
		out.Refused = append(out.Refused, event)
	}
	for name := range pods.ValidResources() {
		out.Selected = append(out.Selected, name)
	}
	for name := range services.ValidResources() {
		out.Selected = append(out.Selected, name)
	}
	rules, err := metav1.LabelSelectorAsSelector(in.Prometheus.Spec.RuleSelector)
	if err != nil {
		return err
	}
	for _, rule := range in.PrometheusRules {
		if !rules.Matches(labels.Set(rule.Labels)) || rule.Namespace != in.Prometheus.Namespace {
			continue
		}
		// As the operator and its webhook do.
		faults := operator.ValidateRule(rule.Spec)
		for _, fault := range faults {
			out.Refused = append(out.Refused, fmt.Sprintf("%s/%s: %v", rule.Namespace, rule.Name, fault))
		}
		if len(faults) == 0 {
			out.Selected = append(out.Selected, rule.Namespace+"/"+rule.Name)
		}
	}

	if alerting := in.Prometheus.Spec.Alerting; alerting != nil {
		for _, endpoint := range alerting.Alertmanagers {
			if err := store.AddBasicAuth(ctx, in.Prometheus.Namespace, endpoint.BasicAuth); err != nil {
				return err
			}
		}
	}
	generator, err := operatorprometheus.NewConfigGenerator(nil, &in.Prometheus)
	if err != nil {
		return err
	}
	configuration, err := generator.GenerateServerConfiguration(
		&in.Prometheus, services.ValidResources(), pods.ValidResources(), nil, nil, store, nil, nil, nil, nil,
	)
	if err != nil {
		return err
	}
	out.Configuration = string(configuration)
	return json.NewEncoder(to).Encode(out)
}

// secrets stands in for the API server's.
type secrets []*corev1.Secret

type secretsOfNamespace struct {
	typedcorev1.SecretInterface // only Get is asked for
	namespace                   string
	all                         secrets
}

func (all secrets) Secrets(namespace string) typedcorev1.SecretInterface {
	return secretsOfNamespace{namespace: namespace, all: all}
}

func (s secretsOfNamespace) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Secret, error) {
	for _, one := range s.all {
		if one.Namespace == s.namespace && one.Name == name {
			return one, nil
		}
	}
	return nil, fmt.Errorf("secret %s/%s not found", s.namespace, name)
}

// monitor is what the operator selects by.
type monitor interface {
	GetNamespace() string
	GetLabels() map[string]string
}

// listed stands in for the operator's informers.
func listed[M monitor](monitors []M) operatorprometheus.ListAllByNamespaceFn {
	return func(namespace string, selector labels.Selector, appendFn cache.AppendFunc) error {
		for _, one := range monitors {
			if one.GetNamespace() == namespace && selector.Matches(labels.Set(one.GetLabels())) {
				appendFn(one)
			}
		}
		return nil
	}
}
