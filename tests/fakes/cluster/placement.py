"""Nodes that a pod may be on, by its nodeSelector and its required node affinity. Pure.

Taints and preferences are not looked at. An operator that is not known is refused.
"""

from tests.fakes.cluster.kinds import Object


def fits(spec: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels", {})
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    terms = [_holds(term, labels) for term in required["nodeSelectorTerms"]] if required else [True]
    return spec.get("nodeSelector", {}).items() <= labels.items() and any(terms)


def _holds(term: Object, labels: dict[str, str]) -> bool:
    assert set(term) == {"matchExpressions"}, term
    return all(_is_met(each, labels) for each in term["matchExpressions"])


def _is_met(expression: Object, labels: dict[str, str]) -> bool:
    key = expression["key"]
    match expression["operator"]:
        case "In":
            return labels.get(key) in expression["values"]
        case "NotIn":
            return labels.get(key) not in expression["values"]
        case "Exists" | "DoesNotExist" as operator:
            return (key in labels) is (operator == "Exists")
    raise ValueError(f"an operator that is not known here: {expression}")
