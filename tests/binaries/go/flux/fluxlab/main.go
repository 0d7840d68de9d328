// Fluxlab syncs a folder once, as Flux's kustomize-controller does, by that controller's libraries.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/kustomize"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/jsondiff"
	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"
)

// Set at link time.
var fluxVersion = "unknown"

// What of a Kustomization is not read by the libraries themselves.
type settings struct {
	Spec struct {
		Ignore []struct {
			Paths  []string
			Target *jsondiff.Selector
		}
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Printf("version %s\n", fluxVersion)
		return
	}
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: fluxlab version | KUBECONFIG KUSTOMIZATION FOLDER")
		os.Exit(2)
	}
	if err := sync(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintf(os.Stderr, "fluxlab: %v\n", err)
		os.Exit(1)
	}
}

// sync prints what was done with each object; it writes a kustomization.yaml into the folder.
func sync(ctx context.Context, kubeconfig, file, folder string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var kustomization unstructured.Unstructured
	if err := yaml.Unmarshal(text, &kustomization.Object); err != nil {
		return err
	}
	var read settings
	if err := yaml.Unmarshal(text, &read); err != nil {
		return err
	}
	manager, err := newManager(kubeconfig)
	if err != nil {
		return err
	}
	objects, err := build(ctx, manager.Client(), kustomization, folder)
	if err != nil {
		return err
	}
	manager.SetOwnerLabels(objects, kustomization.GetName(), kustomization.GetNamespace())
	if err := normalize.UnstructuredList(objects); err != nil {
		return err
	}
	options := ssa.DefaultApplyOptions()
	options.WaitInterval = 100 * time.Millisecond
	for _, rule := range read.Spec.Ignore {
		one := jsondiff.IgnoreRule{Paths: rule.Paths, Selector: rule.Target}
		options.DriftIgnoreRules = append(options.DriftIgnoreRules, one)
	}
	changes, err := manager.ApplyAllStaged(ctx, objects, options)
	if err != nil {
		return err
	}
	for _, change := range changes.Entries {
		fmt.Println(change.Action, change.Subject)
	}
	return nil
}

func build(ctx context.Context, reader client.Client, kustomization unstructured.Unstructured, folder string) ([]*unstructured.Unstructured, error) {
	if _, err := kustomize.NewGenerator(folder, kustomization).WriteFile(folder); err != nil {
		return nil, err
	}
	built, err := kustomize.SecureBuild(folder, folder, false)
	if err != nil {
		return nil, err
	}
	for _, one := range built.Resources() {
		// Strict as since version 1.9 of the controller: it refuses a variable that nobody set.
		replaced, err := kustomize.SubstituteVariables(ctx, reader, kustomization, one, kustomize.SubstituteWithStrict(true))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.CurId(), err)
		}
		if replaced == nil {
			continue
		}
		if _, err := built.Replace(replaced); err != nil {
			return nil, err
		}
	}
	text, err := built.AsYaml()
	if err != nil {
		return nil, err
	}
	return utils.ReadObjects(bytes.NewReader(text))
}

func newManager(kubeconfig string) (*ssa.ResourceManager, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // as the controller's own: the server limits instead
	connections, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, connections)
	if err != nil {
		return nil, err
	}
	reader, err := client.New(config, client.Options{HTTPClient: connections, Mapper: mapper})
	if err != nil {
		return nil, err
	}
	owner := ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"}
	return ssa.NewResourceManager(reader, polling.NewStatusPoller(reader, mapper, polling.Options{}), owner), nil
}
