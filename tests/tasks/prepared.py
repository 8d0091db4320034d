"""Small data sets in ArrayRecord, as `tfds build` would leave them, and files as benchmarks are distributed."""

import json

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2


def data_set(root, name, version, features, splits):
    """Writes {split: list of examples} as root/name/version; name may hold a configuration, glue/cola."""
    folder = root / name / version
    folder.mkdir(parents=True)
    dataset, infos = name.split("/")[0], []
    for split, examples in splits.items():
        file = folder / f"{dataset}-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for example in examples:
            writer.write(_serialized(example, features))
        writer.close()
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=[len(examples)], num_bytes=file.stat().st_size))
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=tfds.features.FeaturesDict(features),
        split_infos=infos,
        filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        check_data=False,
    )


def _serialized(example, features):
    """An example as it is stored; lists of lists of texts are written here, which the library needs TensorFlow for."""
    ragged = {key for key, value in example.items() if isinstance(value, list) and value and isinstance(value[0], list)}
    flat = tfds.features.FeaturesDict({key: feature for key, feature in features.items() if key not in ragged})
    encoded = flat.encode_example({key: value for key, value in example.items() if key not in ragged})
    proto = tf_example_pb2.Example.FromString(flat.serialize_example(encoded))
    for key in ragged:
        values = [text.encode() for texts in example[key] for text in texts]
        proto.features.feature[f"{key}/ragged_flat_values"].bytes_list.value.extend(values)
        lengths = proto.features.feature[f"{key}/ragged_row_lengths_0"].int64_list.value
        lengths.extend(len(texts) for texts in example[key])
    return proto.SerializeToString()


def write(folder, files):
    """Writes {name: str, or objects for one line of JSON each}."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str):
            content = "".join(json.dumps(entry) + "\n" for entry in content)
        path.write_text(content, encoding="utf-8")
    return str(folder)


def table(*rows):
    return "".join("\t".join(row) + "\n" for row in rows)
