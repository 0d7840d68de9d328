"""What Kubernetes would receive from a stack, without a cluster or Pulumi's CLI."""
