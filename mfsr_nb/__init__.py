__version__ = "0.1.0"

import os

import lazy_loader

# In a launch, torch prints a native traceback for each connection that is lost
if 'WORLD_SIZE' in os.environ:
    os.environ.setdefault('TORCH_CPP_LOG_LEVEL', 'ERROR')

# Public names, loaded when they are first used, so that `import mfsr_nb` stays light.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        'core': ['FULL', 'MASKED', 'InputError'],
        'registries': [
            'register_backbone',
            'register_generator',
            'register_loss',
            'register_mask',
            'register_metric',
            'register_reader',
        ],
        'presets': ['load_preset'],
        'world.faces': ['FaceWorld'],
        'data.dataset': ['load_image', 'read', 'read_bin'],
        'data.layouts': ['read_lfw', 'read_rmfrd'],
        'data.readers': ['read_folder', 'read_recordio'],
        'data.find_faces': ['find_landmarks'],
        'data.align': ['align_folder'],
        'data.templates': ['register_template'],
        'masks.masking': ['mask_face'],
        'masks.mask_folder': ['mask_folder'],
        'masks.unet': ['unet_dls', 'unet_learner'],
        'masks.unet_network': ['load_unet'],
        'generators.gan': ['gan_learner'],
        'generators.gan_training': ['load_generator'],
        'generators.unpaired': ['gan_dls'],
        'model_card': ['write_card'],
        'export': ['export_onnx'],
        'protocol.evaluate': ['evaluate'],
        'protocol.pairs': ['make_pairs'],
        'protocol.metrics': ['retrieval', 'verification'],
        'recognition.losses': ['make_loss'],
        'recognition.dcr': ['CenterBank', 'DCRLoss', 'cross_domain', 'single_domain'],
        'recognition.embed': ['embed'],
        'recognition.gallery': ['Gallery'],
        'recognition.iresnet': ['as_recognizer', 'load_arcface'],
        'recognition.loaders': ['face_dls'],
        'recognition.pretrained': ['open_recognizer'],
        'recognition.recognizer': ['load_recognizer'],
        'recognition.train': ['face_learner', 'train_recognizer'],
        'recognition.verify': ['verify'],
    },
)
